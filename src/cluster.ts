import cluster from 'node:cluster';
import { once } from 'node:events';

/** Before a worker that ended is replaced, in milliseconds: a store that is away is not asked in a hurry. */
const REPLACE_MS = 1000;

/**
 * Runs `count` processes of this program on one port, and replaces those that end. Resolves when the first listens.
 * Workers are told to drain by SIGTERM; when all have, the process exits with 0.
 */
export async function startWorkers(count: number): Promise<void> {
  let stopping = false;
  cluster.on('exit', () => {
    if (!stopping) setTimeout(() => cluster.fork(), REPLACE_MS);
    else if (Object.keys(cluster.workers ?? {}).length === 0) process.exit(0);
  });
  const stop = () => {
    stopping = true;
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGTERM');
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);

  const first = cluster.fork();
  const failed = once(first, 'exit').then(([code]) => process.exit(Number(code) || 1));
  await Promise.race([once(first, 'listening'), failed]);
  for (let i = 1; i < count; i++) cluster.fork();
}
