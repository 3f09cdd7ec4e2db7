import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { createChores } from './chores.ts';
import { type Command, createWriter } from './writer.ts';

/** After a write, until what is behind it is gone on with, in milliseconds; five times that long without one is a rest. */
const PAUSE_MS = 20;
/** While writes come, what is done behind them takes this part of the time; of what a round of the scrubber waits for, more with each second of it. */
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
let dueAt = 0;
let lastWrite = 0;

/** Since when a round of the scrubber is under way; null where none is. */
let scrubbing: number | null = null;
/** Not before this the scrubber tries again. */
let scrubAt = 0;

/** Does a part of what is behind the writes; gives how long to rest at least, or null where there is no more to do. */
function goOn(now: number): number | null {
  const scrub = now < scrubAt ? 'busy' : chores.scrubber.step();
  if (scrub === 'busy') scrubAt = Math.max(scrubAt, now + (now < scrubAt ? 0 : BUSY_MS));
  scrubbing = scrub === 'done' ? null : scrub === 'again' ? now : (scrubbing ?? now);
  if (chores.indexer.step() || scrub === 'more' || scrub === 'again') return 0;
  return scrub === 'busy' ? scrubAt - now : null;
}

function rest(): void {
  timer = null;
  const began = performance.now();
  let atLeast: number | null;
  try {
    atLeast = goOn(began);
  } catch {
    // The disk may be full, or another program may write: what is left to do stands in the file.
    if (db.inTransaction) db.exec('ROLLBACK');
    return restIn(PAUSE_MS * 5);
  }
  if (atLeast === null) return;
  const now = performance.now();
  const age = scrubbing === null ? 0 : (now - scrubbing) / 1000;
  const share = Math.min(MAX_SHARE, SHARE + age * MORE_SHARE);
  restIn(Math.max(atLeast, now - lastWrite > PAUSE_MS * 5 ? 0 : (now - began) / share));
}

/** Rests that long, or less where that was said before. */
function restIn(milliseconds: number): void {
  const due = performance.now() + milliseconds;
  if (timer && dueAt <= due) return;
  if (timer) clearTimeout(timer);
  dueAt = due;
  timer = setTimeout(rest, milliseconds);
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
