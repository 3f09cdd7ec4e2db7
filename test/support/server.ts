import { randomUUID } from 'node:crypto';
import { inject, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { createLogger, type Logger } from '../../src/observability/logger.ts';
import { createServer, type Server } from '../../src/server.ts';
import { openMongo } from '../../src/store/mongo/mongo.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../src/store/store.ts';

/** A fresh store, of the kind this run of the tests is for. */
async function freshStore(): Promise<Store> {
  if (process.env.TEST_STORE !== 'mongodb') return openSqlite(':memory:');
  const set = inject('replicaSet');
  if (!set) throw new Error('there is no mongod');
  return openMongo(set.replace(/\/(?=\?|$)/, `/test-${randomUUID()}`));
}

export interface TestServer {
  readonly server: Server;
  readonly store: Store;
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** `ws://127.0.0.1:PORT` */
  readonly ws: string;
}

interface TestServerOptions {
  readonly store?: Store;
  readonly clock?: () => number;
  readonly logger?: Logger;
  /** Registers the function that stops the server; if many tests share one, the first must not stop it. */
  readonly whenDone?: (end: () => Promise<void>) => unknown;
}

/** A server of this process on a free port and a fresh store in memory, gone when the test is. */
export async function startServer(
  environment: Record<string, string> = {},
  options: TestServerOptions = {},
): Promise<TestServer> {
  const defaults = { PORT: '0', LOG_LEVEL: 'silent', RATE_LIMIT_MESSAGES: '0', DRAIN_SPREAD_SECONDS: '0' };
  const config = readConfig({ ...defaults, ...environment });
  const { store = await freshStore(), clock = Date.now, whenDone = onTestFinished } = options;
  const { logger = createLogger(config.logLevel, process.stdout) } = options;
  const server = createServer({ config, store, clock, logger });
  const url = await server.listen();
  whenDone(async () => {
    await server.close();
    await store.close();
  });
  return { server, store, url, ws: url.replace('http', 'ws') };
}
