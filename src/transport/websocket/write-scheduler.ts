/** What has something to write. */
interface Writable {
  write(): void;
}

/** Sockets to be written to after this turn of the event loop, `most` a turn. */
export interface WriteScheduler {
  add(socket: Writable): void;
}

export function createWriteScheduler(most: number): WriteScheduler {
  const waiting = new Set<Writable>();
  function writeSome(): void {
    let done = 0;
    for (const socket of waiting) {
      if (done++ === most) return void setImmediate(writeSome);
      waiting.delete(socket);
      socket.write();
    }
  }
  return {
    add(socket) {
      if (waiting.size === 0) setImmediate(writeSome);
      waiting.add(socket);
    },
  };
}
