/** What a proof says about its message, as docs/RECORD.md has it. It is read here, not verified. */
export interface ProvenEntry {
  /** The entry as it was hashed. */
  readonly entry: string;
  readonly type: 'ADDED' | 'EDITED' | 'REDACTED' | 'IMPORTED';
  /** Milliseconds since 1970. */
  readonly at: number;
  /** The member that made the change; empty where the record does not know it. */
  readonly by: string;
  /** Values of the entry, by name. */
  readonly values: ReadonlyMap<string, string>;
}

interface Extra {
  readonly entry: string;
  readonly disclosures: readonly { readonly name: string; readonly value: string }[];
}

/** Reads the entry that a proof holds in its `extra` line. */
export function readProof(proof: string): ProvenEntry {
  const [, base64 = ''] = /^extra (.*)$/m.exec(proof) ?? [];
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const { entry, disclosures }: Extra = JSON.parse(new TextDecoder().decode(bytes));
  const [, , , type, , at, by] = JSON.parse(entry);
  return { entry, type, at, by, values: new Map(disclosures.map(({ name, value }) => [name, value])) };
}

/** The leaf hash of an entry in hex; null where the browser has no SHA-256, as over plain HTTP. */
export async function entryHash(entry: string): Promise<string | null> {
  if (!globalThis.isSecureContext) return null;
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`\0${entry}`));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
