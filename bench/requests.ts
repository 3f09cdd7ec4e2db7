import type { Connection } from './connection.ts';
import type { MakeFrame } from './dialects.ts';
import type { Listener } from './socket.ts';

export interface Requests {
  /** Makes the next request; null when there is to be no other. */
  next(): { readonly makeFrame: MakeFrame; readonly replied: Listener } | null;
  /** Gets the time each request took, in milliseconds. */
  readonly latencies: number[];
}

/** Keeps `window` requests outstanding until there are no more; resolves when all are answered. */
export function keepBusy(connection: Connection, window: number, { next, latencies }: Requests): Promise<void> {
  return new Promise((resolve) => {
    let outstanding = 0;
    function send(): void {
      const request = next();
      if (!request) {
        if (outstanding === 0) resolve();
        return;
      }
      outstanding++;
      const sentAt = performance.now();
      connection.request(request.makeFrame, (bytes, start, end) => {
        latencies.push(performance.now() - sentAt);
        request.replied(bytes, start, end);
        outstanding--;
        send();
      });
    }
    for (let n = 0; n < window; n++) send();
  });
}

/** Calls `work` with 0 to `count - 1`, at most `atOnce` calls running; resolves with the results in that order. */
export async function concurrently<Result>(
  count: number,
  atOnce: number,
  work: (index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let begun = 0;
  const go = async () => {
    while (begun < count) {
      const index = begun++;
      results[index] = await work(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, go));
  return results;
}
