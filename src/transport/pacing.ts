/** Values that may be asked for without waiting: a page of messages, and what belongs to it. */
export const FREE_COST = 1250;
/** Values whose making is begun in one turn of the event loop; who asks for more has as many turns kept free for others. */
const PER_TURN = 2500;

/**
 * Spreads costly operations over turns of the event loop, so that what takes many short turns, such as a send, is not
 * kept waiting by each of them. Who asks for much waits behind their own; different people take turns.
 */
export function createPacing() {
  const waiting = new Map<string, (() => number)[]>();
  let running = false;
  let owed = 0;

  function turn(): void {
    owed = Math.max(0, owed - PER_TURN);
    while (owed < PER_TURN) {
      const [first] = waiting;
      if (!first) break;
      const [who, queue] = first;
      owed += queue.shift()?.() ?? 0;
      // To the end of the line, if there is more.
      waiting.delete(who);
      if (queue.length > 0) waiting.set(who, queue);
    }
    running = owed > 0 || waiting.size > 0;
    if (running) setImmediate(turn);
  }

  /** Resolves when an operation of this cost may begin; null where it need not wait. */
  return function wait(who: string, cost: number): Promise<void> | null {
    if (cost <= FREE_COST) return null;
    if (!running) setImmediate(turn);
    running = true;
    return new Promise((resolve) => {
      const begin = () => {
        resolve();
        return cost;
      };
      const queue = waiting.get(who);
      if (queue) queue.push(begin);
      else waiting.set(who, [begin]);
    });
  };
}
