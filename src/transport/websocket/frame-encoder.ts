function lengthOf(parts: readonly Buffer[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}

/** Bytes of a frame whose payload is given in parts (RFC 6455, section 5.2). */
export function frameLength(parts: readonly Buffer[]): number {
  const payload = lengthOf(parts);
  return payload + (payload < 126 ? 2 : payload < 65_536 ? 4 : 10);
}

/** Text frames of a server, one after the other: final, not masked. */
export function joinFrames(frames: readonly (readonly Buffer[])[], length: number): Buffer {
  const joined = Buffer.allocUnsafe(length);
  let at = 0;
  for (const parts of frames) {
    const payload = lengthOf(parts);
    joined[at++] = 0x81;
    if (payload < 126) joined[at++] = payload;
    else if (payload < 65_536) {
      joined[at++] = 126;
      at = joined.writeUInt16BE(payload, at);
    } else {
      joined[at++] = 127;
      at = joined.writeBigUInt64BE(BigInt(payload), at);
    }
    for (const part of parts) {
      joined.set(part, at);
      at += part.length;
    }
  }
  return joined;
}
