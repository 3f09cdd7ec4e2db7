import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { type Command, createWriter } from './writer.ts';

/** The writer's thread: waits for the disk, so that the event loop does not. */
const db = new Database(workerData as string);
// A longer log than the usual 1,000 pages: a page that changes often is copied to the file once, not each time.
db.exec('PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000');
const write = createWriter(db);

parentPort?.on('message', (message: string) => {
  if (message === 'close') {
    // A clean stop leaves everything in the one file, for whoever copies it.
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    db.close();
    parentPort?.close();
  } else {
    parentPort?.postMessage(write(JSON.parse(message) as Command[]));
  }
});
