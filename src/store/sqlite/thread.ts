import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { createChores } from './chores.ts';
import { type Command, createWriter } from './writer.ts';

/** After a write, until what is behind it is gone on with, in milliseconds; five times that long without one is a rest. */
const PAUSE_MS = 20;
/** While writes come, what is done behind them takes this part of the time, and so much more for each second of a round of the scrubber. */
const [SHARE, MORE_SHARE, MAX_SHARE] = [1 / 20, 1 / 200, 1 / 4];
/** Until the scrubber tries again where a reader from outside is in its way, in milliseconds. */
const BUSY_MS = 1000;
/** What is done of it at a stop, in milliseconds; the rest is left to the next process. */
const STOP_MS = 2000;

/** The writer's thread: waits for the disk, so that the event loop does not. */
const db = new Database(workerData as string);
// A longer log than the usual 1,000 pages: a page that changes often is copied to the file once, not each time.
db.exec('PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 8000');
const chores = createChores(db);
const write = createWriter(db, chores);
let timer: NodeJS.Timeout | null = null;
/** Whether the next to ask for a rest ends the one that is under way. */
let timerEnds = false;
let lastWrite = 0;

/** Since when a round of the scrubber is under way; null where none is. */
let scrubbing: number | null = null;
/** Not before this the scrubber tries again. */
let scrubAt = 0;

/** Does a part of what there is to scrub. */
function scrub(now: number): ReturnType<typeof chores.scrubber.step> {
  if (now < scrubAt) return 'busy';
  const progress = chores.scrubber.step();
  if (progress === 'busy') scrubAt = now + BUSY_MS;
  if (progress === 'done') scrubbing = null;
  else if (progress === 'again') scrubbing = now;
  else scrubbing ??= now;
  return progress;
}

function rest(): void {
  timer = null;
  const began = performance.now();
  try {
    const progress = scrub(began);
    const behind = chores.indexer.step();
    if (!behind && progress === 'done') return;
    // A write ends this rest.
    if (!behind && progress === 'busy') return restIn(scrubAt - began, true);
  } catch {
    // The disk may be full, or another program may write: what is left to do stands in the file.
    if (db.inTransaction) db.exec('ROLLBACK');
    return restIn(PAUSE_MS * 5);
  }
  const now = performance.now();
  const age = scrubbing === null ? 0 : (now - scrubbing) / 1000;
  const share = Math.min(MAX_SHARE, SHARE + age * MORE_SHARE);
  restIn(now - lastWrite > PAUSE_MS * 5 ? 0 : (now - began) / share);
}

/** Rests, unless a rest is under way already that is not to be ended. */
function restIn(milliseconds: number, endable = false): void {
  if (timer && !timerEnds) return;
  if (timer) clearTimeout(timer);
  timer = setTimeout(rest, milliseconds);
  timerEnds = endable;
}

parentPort?.on('message', (message: string) => {
  if (message === 'close') {
    if (timer) clearTimeout(timer);
    // Nothing is begun any more.
    timer = setTimeout(() => {}, 0);
    scrubAll();
    // A clean stop leaves everything in the one file, for whoever copies it.
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    db.close();
    parentPort?.close();
  } else {
    parentPort?.postMessage(write(JSON.parse(message) as Command[]));
    lastWrite = performance.now();
    restIn(PAUSE_MS);
  }
});
// What an earlier process left undone.
restIn(0);

function scrubAll(): void {
  const deadline = performance.now() + STOP_MS;
  try {
    while (performance.now() < deadline && ['more', 'again'].includes(chores.scrubber.step()));
  } catch {
    if (db.inTransaction) db.exec('ROLLBACK');
  }
}
