import { join } from 'node:path';
import type { ConversationId, Message } from '../../model.ts';
import type { Store } from '../../store/store.ts';
import { allConversations } from '../../store/walk.ts';
import { readManifest } from '../manifest.ts';
import { CONVERSATIONS, type ExportedConversation, type ExportManifest, MESSAGES, readLines } from './files.ts';
import { type Replayed, replay } from './replay.ts';

/** Messages of a conversation that is read as a whole; of such conversations, those that are written at once. */
const [SMALL, AT_ONCE] = [200, 16];

/** Result of an import of an export. */
export interface FromExport {
  readonly conversations: { readonly source: number; readonly imported: number; readonly different: number };
  readonly messages: { readonly source: number; readonly imported: number; readonly present: number };
  /** Whether the sums add up, and every conversation is as it was exported. */
  readonly complete: boolean;
}

/**
 * Imports an export into a store that is empty, or in which an import of the same export was interrupted. `progress` is
 * called with the number of messages done since.
 * @throws Error when the export is incomplete or altered, or the store holds other conversations
 */
export async function importExport(
  folder: string,
  open: () => Promise<Store>,
  progress: (messages: number) => void,
): Promise<FromExport> {
  const manifest = await readManifest<ExportManifest>(folder, 'export 1');
  if (manifest.scope.kind !== 'all') throw new Error(`${folder} is not an export of everything (--all)`);
  const store = await open();
  try {
    await refuseOthers(store, folder);
    const conversations = { source: manifest.conversations, imported: 0, different: 0 };
    const messages = { source: manifest.messages, imported: 0, present: 0 };
    for await (const { imported, present, equal } of replayAll(store, folder, progress)) {
      conversations[equal ? 'imported' : 'different']++;
      messages.imported += imported;
      messages.present += present;
    }
    const complete =
      conversations.source === conversations.imported && messages.source === messages.imported + messages.present;
    return { conversations, messages, complete };
  } finally {
    await store.close();
  }
}

/** Checks that every conversation of the store is in the export; both are ordered by id. */
async function refuseOthers(store: Store, folder: string): Promise<void> {
  const exported = readLines<ExportedConversation>(join(folder, CONVERSATIONS));
  let id: ConversationId | undefined;
  for await (const stored of allConversations(store)) {
    while (id === undefined || id < stored) {
      const { value, done } = await exported.next();
      if (done) break;
      id = value.id;
    }
    if (id !== stored) throw new Error(`the store holds ${stored}, which is not in the export: use an empty store`);
  }
  await exported.return(undefined);
}

async function* replayAll(
  store: Store,
  folder: string,
  progress: (messages: number) => void,
): AsyncGenerator<Replayed> {
  const messages = readLines<Message>(join(folder, MESSAGES));
  let next = await messages.next();
  async function* logOf(id: ConversationId) {
    for (; next.value?.conversationId === id; next = await messages.next()) yield next.value;
  }
  const running: Promise<Replayed>[] = [];
  try {
    for await (const conversation of readLines<ExportedConversation>(join(folder, CONVERSATIONS))) {
      const { id, lastSeq } = conversation;
      if (lastSeq > SMALL) {
        yield* running;
        running.length = 0;
        yield replay(store, conversation, logOf(id), progress);
        continue;
      }
      const log: Message[] = [];
      for await (const message of logOf(id)) log.push(message);
      const replayed = replay(store, conversation, log, progress);
      // A failure is thrown when its turn comes.
      replayed.catch(() => {});
      if (running.push(replayed) === AT_ONCE) yield running.shift() as Promise<Replayed>;
    }
    yield* running;
  } finally {
    await Promise.allSettled(running);
  }
}
