function lengthOf(parts: readonly Buffer[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}

/** Bytes of a frame with this payload, given in parts (RFC 6455, section 5.2). */
export function frameLength(parts: readonly Buffer[]): number {
  const payload = lengthOf(parts);
  return payload + (payload < 126 ? 2 : payload < 65_536 ? 4 : 10);
}

/** Concatenates text frames, each final and unmasked (RFC 6455, section 5.2). */
export function joinFrames(frames: readonly (readonly Buffer[])[], length: number): Buffer {
  const joined = Buffer.allocUnsafe(length);
  let offset = 0;
  for (const parts of frames) {
    const payload = lengthOf(parts);
    joined[offset++] = 0x81;
    if (payload < 126) joined[offset++] = payload;
    else if (payload < 65_536) {
      joined[offset++] = 126;
      offset = joined.writeUInt16BE(payload, offset);
    } else {
      joined[offset++] = 127;
      offset = joined.writeBigUInt64BE(BigInt(payload), offset);
    }
    for (const part of parts) {
      joined.set(part, offset);
      offset += part.length;
    }
  }
  return joined;
}
