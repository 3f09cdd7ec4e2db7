import { setImmediate } from 'node:timers/promises';

/**
 * Handles items in batches (for writes: group commit): those added in one turn of the event loop together, and those
 * that arrive while a batch is under way in the next one. `handle` answers the items of its batch and never rejects.
 * @param lengthOf number of waiting items, oldest first, in the next batch; at least one
 * @param concurrency batches under way at once
 * @returns adds an item
 */
export function createBatcher<Item>(
  lengthOf: (waiting: readonly Item[]) => number,
  handle: (batch: readonly Item[]) => Promise<void>,
  concurrency = 1,
): (item: Item) => void {
  const waiting: Item[] = [];
  let running = 0;

  async function handleAll(): Promise<void> {
    running++;
    await setImmediate();
    while (waiting.length > 0) await handle(waiting.splice(0, lengthOf(waiting)));
    running--;
  }

  return (item) => {
    waiting.push(item);
    if (running < concurrency) void handleAll();
  };
}
