import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { createScrubber } from './scrubber.ts';
import { type Command, createWriter } from './writer.ts';

/** Until the scrubber tries again where something was in its way, in milliseconds. */
const RETRY_MS = 250;

/** The writer's thread: waits for the disk, so that the event loop does not. */
const db = new Database(workerData as string);
// A longer log than the usual 1,000 pages: a page that changes often is copied to the file once, not each time.
db.exec('PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 8000');
const scrubber = createScrubber(db);
const write = createWriter(db, scrubber);
let scrubbing = false;

function scrub(): void {
  scrubbing = false;
  try {
    if (db.open && scrubber.step()) scrubSoon();
  } catch {
    // The disk may be full, or another program may write: what is left to do stands in the file.
    if (db.inTransaction) db.exec('ROLLBACK');
    setTimeout(scrubSoon, RETRY_MS).unref();
  }
}

/** Goes on when the writes that wait have been done. */
function scrubSoon(): void {
  if (scrubbing) return;
  scrubbing = true;
  setImmediate(scrub);
}

parentPort?.on('message', (message: string) => {
  if (message === 'close') {
    scrubAll();
    // A clean stop leaves everything in the one file, for whoever copies it.
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    db.close();
    parentPort?.close();
  } else {
    const commands = JSON.parse(message) as Command[];
    parentPort?.postMessage(write(commands));
    if (commands.some(redacts)) scrubSoon();
  }
});
// What an earlier process left undone.
scrubSoon();

function redacts(command: Command): boolean {
  return command.kind === 'write' && command.write.changed.some(({ redactedAt }) => redactedAt !== null);
}

/** At a stop, as far as it gets in time. */
function scrubAll(): void {
  const deadline = performance.now() + 2000;
  try {
    while (performance.now() < deadline && scrubber.step());
  } catch {
    if (db.inTransaction) db.exec('ROLLBACK');
  }
}
