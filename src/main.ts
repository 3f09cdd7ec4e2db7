import cluster from 'node:cluster';
import { parseArgs } from 'node:util';
import { startWorkers } from './cluster.ts';
import { type Config, readConfig } from './config.ts';
import { createLogger } from './observe.ts';
import { createServer } from './server.ts';
import { openMongo } from './store/mongo/mongo.ts';
import { openSqlite } from './store/sqlite/sqlite.ts';

/** What a stop may take, in milliseconds; what is not done by then is cut. */
const STOP_MS = 9000;

/** Reads `--workers N`, 1 to 64: how many processes serve the port. */
function readWorkers(): number {
  const { values } = parseArgs({ options: { workers: { type: 'string', default: '1' } } });
  const workers = Number(values.workers);
  if (!Number.isInteger(workers) || workers < 1 || workers > 64) throw new Error('--workers is to be 1 to 64');
  return workers;
}

/** Puts the variable in front that an error comes from. */
function naming(variable: string): (error: Error) => never {
  return ({ message }) => {
    throw new Error(`${variable}: ${message}`);
  };
}

async function serve(config: Config): Promise<void> {
  const logger = createLogger(config.logLevel);
  const onStoreError = (error: unknown) => logger.error({ err: error }, 'the store failed');
  const opening =
    config.store.kind === 'mongodb'
      ? openMongo(config.store.url, onStoreError)
      : openSqlite(config.store.path, onStoreError);
  const store = await opening.catch(naming('STORE_URL'));
  const server = createServer({ config, store, logger });
  const url = await server.listen().catch(naming('HOST, PORT'));
  // On stdout whatever the log level: tools that start the server wait for this line.
  process.stdout.write(`Kredichat listens on ${url} (GraphiQL: ${url}/graphql)\n`);

  const stop = async (signal: NodeJS.Signals) => {
    logger.info({ signal }, 'draining');
    setTimeout(() => process.exit(1), STOP_MS).unref();
    await server.close();
    await store.close();
    process.exit(0);
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  // A fault that nobody waited for is one operation's: the others go on.
  process.on('unhandledRejection', (error) => logger.error({ err: error }, 'nobody waited for a failure'));
}

try {
  const config = readConfig(process.env);
  const workers = readWorkers();
  if (workers > 1 && config.store.kind === 'sqlite') {
    throw new Error('--workers needs a mongodb:// STORE_URL: a SQLite file serves one process');
  }
  await (workers > 1 && cluster.isPrimary ? startWorkers(workers) : serve(config));
} catch (error) {
  process.stderr.write(`kredichat: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
