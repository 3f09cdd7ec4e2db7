import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { STEP_MESSAGES } from './indexer.ts';
import { createMaintenance } from './maintenance.ts';
import { type Command, createWriter } from './writer.ts';

/** After a write, until what is behind it is gone on with, and until it is a rest that no write has ended, in milliseconds. */
const [PAUSE_MS, IDLE_MS] = [20, 100];
/** While writes come, what is done behind them takes this part of the time, and so much more for each second of a round of the scrubber. */
const [SHARE, MORE_SHARE, MAX_SHARE] = [1 / 20, 1 / 200, 1 / 4];
/** Until the scrubber tries again where a reader from outside is in its way, in milliseconds. */
const BUSY_MS = 1000;
/** What is done of it at a stop, in milliseconds; the rest is left to the next process. */
const STOP_MS = 2000;

export interface ThreadData {
  readonly file: string;
  /** One number, shared with the thread that reads: of messages that are not in the search index yet. */
  readonly searchLag: Int32Array;
}

/** The writer's thread: waits for the disk, so that the event loop does not. */
const { file, searchLag } = workerData as ThreadData;
const db = new Database(file);
// A longer log than the usual 1,000 pages: a page that changes often is copied to the file once, not each time.
db.exec('PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 8000');
const chores = createMaintenance(db);
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
  const idle = began - lastWrite > IDLE_MS;
  try {
    const progress = scrub(began);
    // While writes come, the index keeps up with them by itself: only what is left from before is done here.
    if (chores.indexer.lag() >= (idle ? 1 : STEP_MESSAGES)) chores.indexer.step();
    const lag = tellLag();
    const scrubbed = progress === 'done' || progress === 'busy';
    if (lag === 0 && progress === 'done') return;
    // A write ends this rest.
    if (lag === 0 && progress === 'busy') return restIn(scrubAt - began, true);
    if (!idle && scrubbed && lag < STEP_MESSAGES) return restIn(IDLE_MS);
  } catch {
    undo();
    return restIn(IDLE_MS);
  }
  const now = performance.now();
  const age = scrubbing === null ? 0 : (now - scrubbing) / 1000;
  const share = Math.min(MAX_SHARE, SHARE + age * MORE_SHARE);
  restIn(idle ? 0 : (now - began) / share);
}

function tellLag(): number {
  searchLag[0] = chores.indexer.lag();
  return searchLag[0];
}

/** Ends what has failed: the disk may be full, or another program may write. What is left to do stands in the file. */
function undo(): void {
  if (db.inTransaction) db.exec('ROLLBACK');
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
    try {
      // The next writes wait for it.
      chores.indexer.keepUp();
    } catch {
      undo();
    }
    tellLag();
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
    undo();
  }
}
