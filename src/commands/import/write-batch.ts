import { newMessage } from '../../chat/log/change-set.ts';
import { afterWrite, opened } from '../../chat/log/next-state.ts';
import type { Conversation, ConversationId, Message, Seq } from '../../model.ts';
import type { Opening, Store } from '../../store/store.ts';
import type { Entry } from './merge.ts';
import type { StoredMessages } from './stored-messages.ts';

/** The `clientId` of a message of the source; further parts of a long text have one of their own. */
export function clientIdOf(document: string, index: number, part = 0): string {
  return `import:${document}:${index}${part === 0 ? '' : `:${part}`}`;
}

/** Result of `writeBatch`. */
export interface Outcome {
  /** The state after the write. */
  readonly conversation: Conversation | null;
  readonly imported: number;
  readonly present: number;
  /** The numbers of the messages that are in the store now. */
  readonly stored: readonly { readonly entry: Entry; readonly seqs: readonly Seq[] }[];
}

/** Writes the entries that are not stored yet, all or none, on the newest state. */
export async function writeBatch(
  store: Store | null,
  source: string,
  id: ConversationId,
  opening: Opening,
  known: Conversation | null,
  earlier: StoredMessages,
  batch: readonly Entry[],
  refuse: (entry: Entry, error: Error) => void,
): Promise<Outcome> {
  let conversation = known;
  for (;;) {
    await earlier.readTo(conversation?.lastSeq ?? 0);
    const head = conversation ?? opened(id, opening, Math.floor(batch[0]?.at ?? 0));
    let sentAt = head.lastActivityAt;
    const messages: Message[] = [];
    const refused: [Entry, Error][] = [];
    const stored: { entry: Entry; seqs: Seq[] }[] = [];
    let present = 0;
    for (const entry of batch) {
      const { sender, texts, time } = entry.message;
      const clientIds = texts.map((_, part) => clientIdOf(entry.document, entry.index, part));
      const own = clientIds.flatMap((clientId) => earlier.get(sender, clientId) ?? []);
      if (own.some((one) => one.sender !== sender || one.time !== time)) {
        refused.push([entry, new Error(`another message has its place in ${id}: the source's list is not as it was`)]);
        continue;
      }
      if (own.length > 0) {
        present++;
        stored.push({ entry, seqs: own.map(({ seq }) => seq) });
        continue;
      }
      if (head.members.get(sender)?.leftAt !== null) {
        refused.push([
          entry,
          new Error(`the sender is not a present member of ${id}: add the sender there, and import again`),
        ]);
        continue;
      }
      if (head.status === 'CLOSED') {
        refused.push([entry, new Error('the conversation is closed')]);
        continue;
      }
      sentAt = Math.max(sentAt, Math.floor(entry.at));
      const origin = { source: `${source}/${entry.document}/${entry.index}`, time, digest: entry.digest };
      const added = texts.map((text, part) =>
        newMessage(head, messages.length + part, {
          ...{ kind: 'TEXT', sender, text, sentAt, clientId: clientIds[part] ?? null, origin },
        }),
      );
      messages.push(...added);
      stored.push({ entry, seqs: added.map(({ seq }) => seq) });
    }
    const write = {
      ...{ conversation: id, afterRev: head.lastRev, opening: conversation ? null : opening, messages },
      ...{ changed: [], state: null, members: [], roles: new Map() },
    };
    if (messages.length > 0) {
      if (store && !(await store.write(write))) {
        // Another process wrote to the conversation: decide again on its new state.
        conversation = await store.conversation(id);
        continue;
      }
      conversation = afterWrite(conversation, write);
      earlier.wrote(conversation.lastSeq);
    }
    for (const one of refused) refuse(...one);
    return { conversation, imported: stored.length - present, present, stored };
  }
}
