import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Conversation, ConversationId, Member, Rev } from '../../model.ts';
import type { Manifest } from '../manifest.ts';
import type { RecordCounts } from './record.ts';

/** The conversations of an export. */
export type Scope =
  | { readonly kind: 'all'; readonly value: null }
  /** By id, or all about one configuration. */
  | { readonly kind: 'conversation' | 'config'; readonly value: string };

export interface ExportManifest extends Manifest<'export 1'>, Omit<RecordCounts, 'proofs'> {
  readonly scope: Scope;
  /** Values that the export does not disclose, as `erased`; empty here. */
  readonly withheld: readonly (readonly [ConversationId, Rev, string])[];
}

/** One conversation a line, by id. */
export const CONVERSATIONS = 'conversations.ndjson';
/** One message a line, in the order of the conversations, then `seq`; each in the state of its conversation. */
export const MESSAGES = 'messages.ndjson';

/** A line of `conversations.ndjson`: present and former members, in the order of `Conversation.members`. */
export interface ExportedConversation extends Omit<Conversation, 'members' | 'lastMessage'> {
  readonly members: readonly Member[];
}

/** The line of a conversation. */
export function exported({ lastMessage, members, ...head }: Conversation): ExportedConversation {
  return { ...head, members: [...members.values()] };
}

/** Length of a part that is written at once, in UTF-16 units. */
const PART = 100_000;

/** A new file of JSON lines. @throws Error when it exists */
export async function createLines(path: string) {
  const file: FileHandle = await open(path, 'ax');
  let waiting = '';
  let length = 0;

  /** Writes what waits; returns the length of the file in bytes. */
  async function flush(): Promise<number> {
    const part = Buffer.from(waiting);
    waiting = '';
    await file.writeFile(part);
    length += part.length;
    return length;
  }
  async function addLine(line: string): Promise<void> {
    waiting += `${line}\n`;
    if (waiting.length > PART) await flush();
  }
  return {
    add: (value: object): Promise<void> => addLine(JSON.stringify(value)),
    addLine,
    flush,
    /** Removes what was added after `flush` returned this length. */
    async cut(to: number): Promise<void> {
      await flush();
      await file.truncate(to);
      length = to;
    },
    async close(): Promise<void> {
      await flush();
      await file.close();
    },
  };
}

/** The values of a file of JSON lines. */
export async function* readLines<T>(path: string): AsyncGenerator<T, undefined> {
  let rest = '';
  for await (const part of createReadStream(path, 'utf8')) {
    const lines = (rest + part).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line);
  }
}
