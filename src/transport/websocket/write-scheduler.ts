/** A socket with buffered frames. */
interface Writable {
  write(): void;
}

/** Writes to sockets after this turn of the event loop, to at most `maxPerTurn` of them a turn. */
export interface WriteScheduler {
  add(socket: Writable): void;
}

export function createWriteScheduler(maxPerTurn: number): WriteScheduler {
  const waiting = new Set<Writable>();
  function writeSome(): void {
    let written = 0;
    for (const socket of waiting) {
      if (written++ === maxPerTurn) return void setImmediate(writeSome);
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
