import { parentPort, workerData } from 'node:worker_threads';
import Database from 'libsql';
import { createMaintenance } from './maintenance.ts';
import { STEP_MESSAGES } from './search/indexer.ts';
import { type Command, createWriter } from './writer.ts';

/** Delay after a write until maintenance goes on, and until the thread counts as idle, in milliseconds. */
const [PAUSE_MS, IDLE_MS] = [20, 100];
/**
 * Share of the time that maintenance takes while writes come; what each second of a round of the scrubber adds; and the
 * upper bound.
 */
const [SHARE, MORE_SHARE, MAX_SHARE] = [1 / 20, 1 / 200, 1 / 4];
/** Delay until the scrubber tries again when a reader outside this process blocks it, in milliseconds. */
const BUSY_MS = 1000;
/** Time for scrubbing at a stop, in milliseconds; the next process does the rest. */
const STOP_MS = 2000;

export interface ThreadData {
  readonly file: string;
  /** One number, shared with the reading thread: messages that are not in the search index yet. */
  readonly searchLag: Int32Array;
}

// The writer's thread waits for the disk, so that the event loop does not.
const { file, searchLag } = workerData as ThreadData;
const db = new Database(file);
// A longer log than the usual 1,000 pages: a page that changes often is copied to the file once, not each time.
db.exec('PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 8000');
const maintenance = createMaintenance(db);
const write = createWriter(db, maintenance);
let timer: NodeJS.Timeout | null = null;
/** True if the pending timer may be replaced. */
let isReplaceable = false;
let lastWrite = 0;

/** Start of the running round of the scrubber; null where none runs. */
let scrubbing: number | null = null;
/** The scrubber does not try again before this time, in milliseconds of the monotonic clock. */
let scrubAt = 0;

/** Does one step of scrubbing. */
function scrub(now: number): ReturnType<typeof maintenance.scrubber.step> {
  if (now < scrubAt) return 'busy';
  const progress = maintenance.scrubber.step();
  if (progress === 'busy') scrubAt = now + BUSY_MS;
  if (progress === 'done') scrubbing = null;
  else if (progress === 'again') scrubbing = now;
  else scrubbing ??= now;
  return progress;
}

/** Does one step of scrubbing and one of indexing, and schedules the next. */
function maintain(): void {
  timer = null;
  const began = performance.now();
  const idle = began - lastWrite > IDLE_MS;
  try {
    const progress = scrub(began);
    // While writes come, `keepUp` indexes them: only the backlog of an earlier process is indexed here.
    if (maintenance.indexer.lag() >= (idle ? 1 : STEP_MESSAGES)) maintenance.indexer.step();
    const lag = publishLag();
    const scrubbed = progress === 'done' || progress === 'busy';
    if (lag === 0 && progress === 'done') return;
    // A write replaces this timer.
    if (lag === 0 && progress === 'busy') return scheduleMaintenance(scrubAt - began, true);
    if (!idle && scrubbed && lag < STEP_MESSAGES) return scheduleMaintenance(IDLE_MS);
  } catch {
    rollBack();
    return scheduleMaintenance(IDLE_MS);
  }
  const now = performance.now();
  const age = scrubbing === null ? 0 : (now - scrubbing) / 1000;
  const share = Math.min(MAX_SHARE, SHARE + age * MORE_SHARE);
  scheduleMaintenance(idle ? 0 : (now - began) / share);
}

/** Publishes the search lag to the reading thread, and returns it. */
function publishLag(): number {
  searchLag[0] = maintenance.indexer.lag();
  return searchLag[0];
}

/** Rolls back a failed step: the disk may be full, or another program may write. The remaining work is in the file. */
function rollBack(): void {
  if (db.inTransaction) db.exec('ROLLBACK');
}

/** Schedules maintenance, unless a timer is pending that may not be replaced. */
function scheduleMaintenance(milliseconds: number, replaceable = false): void {
  if (timer && !isReplaceable) return;
  if (timer) clearTimeout(timer);
  timer = setTimeout(maintain, milliseconds);
  isReplaceable = replaceable;
}

parentPort?.on('message', (message: string) => {
  if (message === 'close') {
    if (timer) clearTimeout(timer);
    // Keeps maintenance from being scheduled again.
    timer = setTimeout(() => {}, 0);
    scrubAll();
    // A clean stop leaves everything in the one file, so that a copy of it is complete.
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    db.close();
    parentPort?.close();
  } else {
    parentPort?.postMessage(write(JSON.parse(message) as Command[]));
    lastWrite = performance.now();
    try {
      // Runs before the next writes are applied.
      maintenance.indexer.keepUp();
    } catch {
      rollBack();
    }
    publishLag();
    scheduleMaintenance(PAUSE_MS);
  }
});
// Goes on with the work an earlier process left.
scheduleMaintenance(0);

/** Scrubs until nothing is left, or for `STOP_MS`. */
function scrubAll(): void {
  const deadline = performance.now() + STOP_MS;
  try {
    while (performance.now() < deadline && ['more', 'again'].includes(maintenance.scrubber.step()));
  } catch {
    rollBack();
  }
}
