import { accessSync, closeSync, constants, existsSync, mkdirSync, openSync, readSync, realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import Database from 'libsql';
import { logChanged, type Store, StoreUnavailable, type WakeUp } from '../store.ts';
import { createMaintenance } from './maintenance.ts';
import { createReader, type Reader } from './reader.ts';
import { createRecordReader, type RecordReader } from './record/reader.ts';
import { rowsOf } from './record/writer.ts';
import { APPLICATION_ID, migrate, VERSION } from './schema.ts';
import { createSearch } from './search/search.ts';
import { type Command, createWriter, type Done, type Outcome } from './writer.ts';
import type { ThreadData } from './writer-thread.ts';

/** Commands in one transaction, at most, so that the first of them does not wait long. */
const MAX_COMMANDS = 500;
/**
 * Writes that had to wait for a transaction wait until there are `FEW_COMMANDS` of them, or `GATHER_MS` milliseconds
 * have passed since it began: a transaction costs as much as two or three messages. A write that finds none running
 * starts at once.
 */
const [FEW_COMMANDS, GATHER_MS] = [10, 8];

/**
 * Opens the embedded store. `path` is a file, created with its folder where missing, or `:memory:`. Throws, with a
 * message for the operator and the file untouched, when the file is damaged, belongs to another program, has a newer
 * version or is in use by another process. `onError` is called when the writer's thread ends by a fault: nothing is
 * written afterwards.
 */
export async function openSqlite(path: string, onError: (error: Error) => void = () => {}): Promise<Store> {
  if (path === ':memory:') {
    const db = new Database(path);
    migrate(db, 0);
    const maintenance = createMaintenance(db);
    const write = createWriter(db, maintenance);
    const searchLag = maintenance.indexer.lag;
    return createStore(db, {
      write: async (commands) => write(commands),
      gatherMs: 0,
      searchLag,
      close: async () => {},
    });
  }
  // The lock is on the file itself, so that a link to it is locked too.
  const file = existsSync(path) ? realpathSync(path) : resolve(path);
  if (existsSync(file)) checkHeader(file);
  else mkdirSync(dirname(file), { recursive: true });
  // SQLite would silently open a file without write permission as read-only.
  for (const path of [dirname(file), file]) if (existsSync(path)) accessSync(path, constants.W_OK);
  const lock = lockFile(file);
  try {
    const version = existsSync(file) ? checkContent(file) : 0;
    const db = new Database(file);
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON');
    migrate(db, version);
    db.exec('PRAGMA query_only = ON');
    const thread = startThread(file, onError);
    const close = async () => {
      await thread.close();
      lock.close();
    };
    return createStore(db, { ...thread, close });
  } catch (error) {
    lock.close();
    throw error;
  }
}

/**
 * Reads the store of a file through a connection that cannot write, while a server may use it.
 * @throws Error when it is no file of this version
 */
export async function readSqlite<T>(file: string, use: (reader: Reader & RecordReader) => Promise<T>): Promise<T> {
  if (!existsSync(file)) throw new Error(`${file} does not exist`);
  checkHeader(file);
  const db = new Database(`${pathToFileURL(file).href}?mode=ro`);
  try {
    const version = (db.prepare('PRAGMA user_version').raw().get() as [number])[0];
    if (version !== VERSION) throw new Error(`${file} is of version ${version}: run the server once to update it`);
    return await use({ ...createReader(db), ...createRecordReader(db) });
  } finally {
    db.close();
  }
}

interface Backend {
  write(commands: readonly Command[]): Promise<Outcome[]>;
  readonly gatherMs: number;
  searchLag(): number;
  close(): Promise<void>;
}

function createStore(db: Database.Database, backend: Backend): Store {
  const listeners = new Set<(wakeUp: WakeUp | null) => void>();
  let waiting: { command: Command; settle: (outcome: Outcome) => void }[] = [];
  let writing: Promise<void> | null = null;
  let closed: Promise<void> | null = null;

  /** Ends the wait for more commands. */
  let begin = () => {};
  const gather = (milliseconds: number) =>
    new Promise<void>((resolve) => {
      begin = resolve;
      setTimeout(resolve, milliseconds);
    });

  // Group commit: commands that arrive while a transaction runs go into the next one together. `createBatcher` does not
  // fit: here a command that finds no transaction starts at once, and later ones gather for some time.
  async function writeAll(): Promise<void> {
    for (let until = 0; waiting.length > 0; ) {
      const early = until - performance.now();
      if (early > 0 && waiting.length < FEW_COMMANDS) await gather(early);
      until = performance.now() + backend.gatherMs;
      const group = waiting.slice(0, MAX_COMMANDS);
      waiting = waiting.slice(MAX_COMMANDS);
      const outcomes = await backend.write(group.map((entry) => entry.command));
      for (const [index, { settle }] of group.entries()) {
        settle(outcomes[index] ?? { failed: 'the writer ended', nothingWritten: false });
      }
    }
    writing = null;
  }

  function execute(command: Command): Promise<Done> {
    if (closed) return Promise.reject(new StoreUnavailable(true, new Error('the store is closed')));
    return new Promise((resolve, reject) => {
      const settle = (outcome: Outcome) => {
        if ('changed' in outcome) resolve(outcome);
        else reject(new StoreUnavailable(outcome.nothingWritten, new Error(outcome.failed)));
      };
      if (waiting.push({ command, settle }) >= FEW_COMMANDS) begin();
      writing ??= writeAll();
    });
  }

  const search = createSearch(db, async (pks) => (await execute({ kind: 'index', pks })).changed);
  /** Running searches: unlike other reads they take several turns of the event loop. */
  const searching = new Set<Promise<unknown>>();

  function wake(wakeUp: WakeUp): void {
    for (const listener of listeners) listener(wakeUp);
  }

  return {
    ...createReader(db),
    ...createRecordReader(db),
    async addToRegister(batch) {
      return (await execute({ kind: 'register', batch: rowsOf(batch) })).changed;
    },
    async setCheckpoint(checkpoint, size) {
      await execute({ kind: 'checkpoint', checkpoint, size });
    },
    // One file serves one process.
    async takeLease() {
      return true;
    },
    async endLease() {},
    async search(...query) {
      if (closed) throw new StoreUnavailable(true, new Error('the store is closed'));
      const result = search(...query);
      searching.add(result);
      try {
        return await result;
      } finally {
        searching.delete(result);
      }
    },
    async write(write) {
      const { roles, ...rest } = write;
      const { changed } = await execute({ kind: 'write', write: rest, roles: [...roles] });
      if (changed) wake(logChanged(write.conversation, write));
      return changed;
    },
    async advanceReadPosition(id, reader, seq, role, _known, at = null) {
      const { changed, read } = await execute({ kind: 'advanceReadPosition', id, reader, seq, role, at });
      if (read) wake({ kind: 'read', conversation: id, member: reader, readSeq: seq, readAt: at, ...read, role });
      return changed;
    },
    async setView(id, reader, view) {
      const { changed } = await execute({ kind: 'setView', id, reader, view });
      if (changed) wake({ kind: 'view', conversation: id, member: reader });
      return changed;
    },
    async tellTyping(typing) {
      wake(typing);
    },
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    searchLag: backend.searchLag,
    async ping() {
      await execute({ kind: 'ping' });
    },
    close() {
      closed ??= (async () => {
        await Promise.allSettled(searching);
        await writing;
        await backend.close();
        db.close();
      })();
      return closed;
    },
  };
}

function startThread(file: string, onError: (error: Error) => void): Backend {
  const searchLag = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const workerData: ThreadData = { file, searchLag };
  const worker = new Worker(new URL('./writer-thread.js', import.meta.url), { workerData });
  let answer: ((outcomes: Outcome[]) => void) | null = null;
  let dead: Error | null = null;
  const exited = new Promise<void>((resolve) => {
    worker.once('exit', () => resolve());
  });
  worker.on('message', (outcomes: Outcome[]) => answer?.(outcomes));
  worker.on('error', (error: Error) => {
    dead = error;
    onError(error);
    answer?.([]);
  });
  return {
    async write(commands) {
      if (dead) return commands.map(() => ({ failed: 'the writer ended', nothingWritten: true }));
      return new Promise((resolve) => {
        answer = resolve;
        worker.postMessage(JSON.stringify(commands));
      });
    },
    gatherMs: GATHER_MS,
    searchLag: () => searchLag[0] ?? 0,
    async close() {
      worker.postMessage('close');
      await exited;
    },
  };
}

/** Reads the header alone (SQLite file format, section 1.3), so that SQLite does not open a foreign file. */
function checkHeader(file: string): void {
  const header = Buffer.alloc(100);
  const descriptor = openSync(file, 'r');
  const length = readSync(descriptor, header);
  closeSync(descriptor);
  if (length === 0) return;
  if (length < 100 || header.toString('latin1', 0, 16) !== 'SQLite format 3\0') {
    throw new Error(`${file} is not a SQLite database, or it is damaged`);
  }
  checkVersion(file, header.readUInt32BE(68), header.readUInt32BE(60));
}

function checkVersion(file: string, applicationId: number, version: number): void {
  if (applicationId !== APPLICATION_ID && !(applicationId === 0 && version === 0)) {
    throw new Error(`${file} belongs to another program (application id ${applicationId})`);
  }
  if (version > VERSION) {
    throw new Error(`${file} is of version ${version}, this program knows up to ${VERSION}: run a newer program`);
  }
}

/** Checks the whole file, the write-ahead log included, through a connection that cannot write. Returns the version. */
function checkContent(file: string): number {
  const db = new Database(`${pathToFileURL(file).href}?mode=ro`);
  try {
    const pragma = (name: string) => (db.prepare(`PRAGMA ${name}`).raw().get() as [number | string])[0];
    const version = Number(pragma('user_version'));
    checkVersion(file, Number(pragma('application_id')), version);
    const tables = db.prepare('SELECT count(*) AS count FROM sqlite_schema').get() as { count: number };
    if (version === 0 && tables.count > 0) throw new Error(`${file} belongs to another program`);
    const verdict = pragma('quick_check(1)');
    if (verdict !== 'ok') throw new Error(`${file} is damaged: ${verdict}`);
    return version;
  } catch (error) {
    if (error instanceof Error && 'code' in error)
      throw new Error(`${file} is damaged: ${error.message}`, { cause: error });
    throw error;
  } finally {
    db.close();
  }
}

/** Holds an operating system lock on a file beside the database for as long as this process lives, killed or not. */
function lockFile(file: string): Database.Database {
  const lock = new Database(`${file}-lock`);
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    throw new Error(`${file} is in use by another process; one file serves one process`, { cause: error });
  }
}
