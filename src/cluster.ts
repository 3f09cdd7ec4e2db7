import cluster, { type Worker } from 'node:cluster';
import { closeSync } from 'node:fs';
import { AggregatorRegistry, type Registry } from 'prom-client';
import type { Logger } from './observability/logger.ts';

/** Delay before an ended worker is replaced, in milliseconds: workers do not flood a store that is unavailable. */
const REPLACE_MS = 1000;
/** A worker that drains for this much longer than `drainMs` is killed, in milliseconds. */
const STOP_MS = 9500;
/** A worker that takes longer to report its metrics is left out of the sum, in milliseconds. */
const NUMBERS_MS = 1000;

/** Messages between the primary and its workers. */
type Message =
  /** A worker requests the metrics of all workers as text. */
  | { readonly kind: 'expose'; readonly id: number }
  | { readonly kind: 'exposed'; readonly id: number; readonly text: string }
  /** The primary requests the metrics of a worker. */
  | { readonly kind: 'count'; readonly id: number }
  | { readonly kind: 'counted'; readonly id: number; readonly numbers: object };

/** Ends the process. Closes the standard streams first: Node.js aborts if one is a terminal that is gone. */
export function exit(code: number): never {
  for (const descriptor of [0, 1, 2]) {
    try {
      closeSync(descriptor);
    } catch {
      // A terminal that is gone: close fails, and the descriptor is closed.
    }
  }
  process.exit(code);
}

/**
 * Runs `count` processes of this program on one port, and replaces those that end. If the first ends before it
 * listens, the process exits with its code. `onStop` drains the workers, for `drainMs` milliseconds at least; the
 * process exits with 0 after the last.
 */
export async function startWorkers(
  count: number,
  logger: Logger,
  drainMs: number,
  onStop: (stop: (signal: NodeJS.Signals) => void) => void,
): Promise<void> {
  let listening = false;
  let stopping = false;
  // `cluster.workers` keeps an ended worker until its channel is closed.
  const workers = () =>
    Object.values(cluster.workers ?? {}).flatMap((worker) => (worker?.isDead() === false ? [worker] : []));

  function fork(): void {
    if (stopping) return;
    // A message to a worker that has just ended fails; 'exit' reports its end.
    cluster.fork().on('error', () => {});
  }

  cluster.on('exit', (worker, code, signal) => {
    if (stopping) {
      if (workers().length === 0) exit(0);
      return;
    }
    if (!listening) exit(code || 1);
    logger.warn({ worker: worker.process.pid, code, signal }, 'a worker ended and is replaced');
    setTimeout(fork, REPLACE_MS);
  });
  cluster.once('listening', () => {
    listening = true;
    for (let i = 1; i < count; i++) fork();
  });
  addUp(workers);
  onStop(() => {
    stopping = true;
    const kill = (signal: NodeJS.Signals) => {
      for (const worker of workers()) worker.process.kill(signal);
    };
    if (workers().length === 0) exit(0);
    kill('SIGTERM');
    setTimeout(kill, drainMs + STOP_MS, 'SIGKILL');
  });
  fork();
}

/** Answers requests of workers for the metrics of all workers; a worker that does not answer in time is left out. */
function addUp(workers: () => Worker[]): void {
  let asked = 0;
  const waiting = new Map<number, (numbers: object | null) => void>();

  async function count(worker: Worker): Promise<object | null> {
    const id = ++asked;
    const numbers = await new Promise<object | null>((resolve) => {
      waiting.set(id, resolve);
      setTimeout(resolve, NUMBERS_MS, null);
      worker.send({ kind: 'count', id } satisfies Message);
    });
    waiting.delete(id);
    return numbers;
  }

  cluster.on('message', async (worker, message: Message) => {
    if (message.kind === 'counted') waiting.get(message.id)?.(message.numbers);
    if (message.kind !== 'expose') return;
    const numbers = (await Promise.all(workers().map(count))).filter((each) => each !== null);
    const text = await AggregatorRegistry.aggregate(numbers).metrics();
    worker.send({ kind: 'exposed', id: message.id, text } satisfies Message);
  });
}

/** In a worker: reports this registry to the primary, and returns the metrics of all workers as text. */
export function exposeWorkers(registry: Registry): () => Promise<string> {
  let asked = 0;
  const waiting = new Map<number, (text: string) => void>();
  // Without a primary the worker ends by itself.
  const tell = (message: Message) => process.send?.(message, undefined, undefined, () => {});
  process.on('message', async (message: Message) => {
    if (message.kind === 'count') tell({ kind: 'counted', id: message.id, numbers: await registry.getMetricsAsJSON() });
    if (message.kind !== 'exposed') return;
    waiting.get(message.id)?.(message.text);
    waiting.delete(message.id);
  });
  return () =>
    new Promise((resolve) => {
      waiting.set(++asked, resolve);
      tell({ kind: 'expose', id: asked });
    });
}
