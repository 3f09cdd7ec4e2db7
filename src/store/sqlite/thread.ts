import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { type Command, createWriter } from './writer.ts';

/** The writer's thread: waits for the disk, so that the event loop does not. */
const db = new Database(workerData as string);
db.exec('PRAGMA synchronous = FULL');
const write = createWriter(db);

parentPort?.on('message', (commands: readonly Command[] | 'close') => {
  if (commands === 'close') {
    // A clean stop leaves everything in the one file, for whoever copies it.
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    db.close();
    parentPort?.close();
  } else {
    parentPort?.postMessage(write(commands));
  }
});
