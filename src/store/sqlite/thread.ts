import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { createChores } from './chores.ts';
import { type Command, createWriter } from './writer.ts';

/** After a write, until what is behind it is gone on with, in milliseconds; five times that long without one is a rest. */
const PAUSE_MS = 20;
/** While writes come, what is done behind them takes this part of the time. */
const SHARE = 1 / 20;
/** What is done of it at a stop, in milliseconds; the rest is left to the next process. */
const STOP_MS = 2000;

/** The writer's thread: waits for the disk, so that the event loop does not. */
const db = new Database(workerData as string);
// A longer log than the usual 1,000 pages: a page that changes often is copied to the file once, not each time.
db.exec('PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 8000');
const chores = createChores(db);
const write = createWriter(db, chores);
let timer: NodeJS.Timeout | null = null;
let lastWrite = 0;

/** Does a part of what is behind the writes. True while there is more. */
function goOn(): boolean {
  const scrubs = chores.scrubber.step();
  return chores.indexer.step() || scrubs;
}

function rest(): void {
  timer = null;
  const began = performance.now();
  try {
    if (!goOn()) return;
  } catch {
    // The disk may be full, or another program may write: what is left to do stands in the file.
    if (db.inTransaction) db.exec('ROLLBACK');
    return restIn(PAUSE_MS * 5);
  }
  const now = performance.now();
  restIn(now - lastWrite > PAUSE_MS * 5 ? 0 : (now - began) / SHARE);
}

function restIn(milliseconds: number): void {
  timer ??= setTimeout(rest, milliseconds);
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
    while (performance.now() < deadline && chores.scrubber.step());
  } catch {
    if (db.inTransaction) db.exec('ROLLBACK');
  }
}
