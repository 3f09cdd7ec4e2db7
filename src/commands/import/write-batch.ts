import { clientKey, newMessage } from '../../chat/log/change-set.ts';
import { afterWrite, opened } from '../../chat/log/next-state.ts';
import type { Conversation, ConversationId, Message, Seq } from '../../model.ts';
import type { Opening, Store } from '../../store/store.ts';
import type { Entry } from './merge.ts';

/** Result of `writeBatch`. */
export interface Outcome {
  /** The state after the write. */
  readonly conversation: Conversation | null;
  /** Whether messages that come later may be stored already. */
  readonly again: boolean;
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
  mayBeStored: boolean,
  batch: readonly Entry[],
  refuse: (entry: Entry, error: Error) => void,
): Promise<Outcome> {
  const keysOf = ({ document, index, message: { sender, texts } }: Entry) =>
    texts.map((_, part) => ({ sender, clientId: `import:${document}:${index}${part === 0 ? '' : `:${part}`}` }));
  let [conversation, again] = [known, mayBeStored];
  for (;;) {
    const found = again ? ((await store?.messagesByClientId(id, batch.flatMap(keysOf))) ?? []) : [];
    const seqs = new Map(found.map(({ sender, clientId, seq }) => [clientKey(sender, clientId ?? ''), seq]));
    const head = conversation ?? opened(id, opening, batch[0]?.at ?? 0);
    let sentAt = head.lastActivityAt;
    const messages: Message[] = [];
    const refused: [Entry, Error][] = [];
    const stored: { entry: Entry; seqs: Seq[] }[] = [];
    let present = 0;
    for (const entry of batch) {
      const keys = keysOf(entry);
      const own = keys.map(({ sender, clientId }) => seqs.get(clientKey(sender, clientId)));
      if (own[0] !== undefined) {
        present++;
        stored.push({ entry, seqs: own.filter((seq) => seq !== undefined) });
        continue;
      }
      const { sender, texts, time } = entry.message;
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
      sentAt = Math.max(sentAt, entry.at);
      const origin = { source: `${source}/${entry.document}/${entry.index}`, time, digest: entry.digest };
      const added = texts.map((text, part) =>
        newMessage(head, messages.length + part, {
          ...{ kind: 'TEXT', sender, text, sentAt, clientId: keys[part]?.clientId ?? null, origin },
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
        again = true;
        continue;
      }
      conversation = afterWrite(conversation, write);
    }
    for (const one of refused) refuse(...one);
    return { conversation, again, imported: stored.length - present, present, stored };
  }
}
