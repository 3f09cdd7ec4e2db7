import cluster from 'node:cluster';
import { exit, exposeWorkers, startWorkers } from '../cluster.ts';
import type { Config } from '../config.ts';
import { createLogger, openOutput } from '../observability/logger.ts';
import { createMetrics } from '../observability/metrics.ts';
import { createServer } from '../server.ts';
import { createOutages } from '../store/outages.ts';
import { version } from '../version.ts';
import { openStore } from './open-store.ts';
import { recordKeys } from './record-keys.ts';

/** Time limit of a stop beside the drain's delay and spread, in milliseconds; then the process exits with 1. */
const STOP_MS = 11_000;
/** Interval at which a process started by npm checks that npm still runs, in milliseconds. */
const PARENT_MS = 500;
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
const parent = process.ppid;

const drainMs = ({ drainDelayMs, drainSpreadMs }: Config) => drainDelayMs + drainSpreadMs;

/** Prefixes an error with the variable that causes it. */
function naming(variable: string): (error: Error) => never {
  return ({ message }) => {
    throw new Error(`${variable}: ${message}`);
  };
}

/**
 * Calls `stop` once, at the first signal to stop. Later signals are ignored: a process group, its terminal and npm may
 * each forward the same one.
 */
function onStop(stop: (signal: NodeJS.Signals) => void): void {
  let stopping = false;
  const once = (signal: NodeJS.Signals) => {
    if (!stopping) stop(signal);
    stopping = true;
  };
  for (const signal of SIGNALS) process.on(signal, once);
  // npm does not forward SIGHUP, nor SIGKILL: detect its end by the change of the parent process.
  if (process.env.npm_lifecycle_event === undefined || cluster.isWorker) return;
  setInterval(() => process.ppid !== parent && once('SIGHUP'), PARENT_MS).unref();
}

/**
 * Ends the process at a signal while its store is opened, until the returned function is called. The first process of a
 * container has no default action for signals. Any other has, which also interrupts the opening of a SQLite file; that
 * is synchronous, and a handler would run after it.
 */
function endWhileOpening({ store }: Config): () => void {
  if (store.kind === 'sqlite' && process.pid !== 1) return () => {};
  const end = () => exit(0);
  for (const signal of SIGNALS) process.on(signal, end);
  return () => {
    for (const signal of SIGNALS) process.off(signal, end);
  };
}

async function serveAlone(config: Config): Promise<void> {
  const opened = endWhileOpening(config);
  const metrics = createMetrics(cluster.isWorker ? exposeWorkers : undefined);
  const output = openOutput(metrics.droppedLogLine);
  const logger = createLogger(config.logLevel, output);
  const keys = recordKeys(config, 'create');
  const outages = createOutages(logger, metrics.setStoreAvailable);
  const onOpen = (instances: readonly object[]) => logger.info({ instances }, 'instances on this store');
  const store = outages.watch(await openStore(config.store, outages.report, onOpen).catch(naming('STORE_URL')));
  const server = createServer({ config, store, logger, metrics, keys });
  const url = await server.listen().catch(naming('HOST, PORT'));
  onStop(async (signal) => {
    logger.info({ signal }, 'draining');
    setTimeout(exit, drainMs(config) + STOP_MS, 1).unref();
    await server.close();
    await store.close();
    await output.close();
    exit(0);
  });
  opened();
  // An unhandled rejection belongs to one operation: the others continue.
  process.on('unhandledRejection', (error) => logger.error({ err: error }, 'unhandled rejection'));
  // Written at every log level: tools that start the server wait for this line, and may stop it at once.
  output.write(`Kredichat ${version} listens on ${url} (GraphiQL: ${url}/graphql)\n`);
}

async function supervise(config: Config, workers: number): Promise<void> {
  const output = openOutput(() => {});
  await startWorkers(workers, createLogger(config.logLevel, output), drainMs(config), onStop);
}

/**
 * Runs the server until a signal stops it.
 * @param workers processes that serve the port, 1 to 64; more than one need a MongoDB store
 */
export async function serve(config: Config, workers: number): Promise<void> {
  if (workers > 1 && config.store.kind === 'sqlite')
    throw new Error('--workers needs a mongodb:// STORE_URL: a SQLite file serves one process');
  await (workers > 1 && cluster.isPrimary ? supervise(config, workers) : serveAlone(config));
}
