import { join } from 'node:path';
import type { ConversationId } from '../../model.ts';
import { allConversations, MAX_READS, pagesOf, type WholeStore } from '../../store/walk.ts';
import { newFolder, writeManifest } from '../manifest.ts';
import { CONVERSATIONS, createLines, type ExportManifest, exported, MESSAGES } from './files.ts';

/**
 * Writes a whole store to a new or empty folder, while a server may use it: each conversation in one of its states.
 * `progress` is called with the number of messages done since. The manifest is written last.
 * @throws Error when the folder is not empty, a log has a hole, or a conversation changes during each of `MAX_READS`
 * reads
 */
export async function exportAll(
  store: WholeStore,
  folder: string,
  program: string,
  progress: (messages: number) => void,
): Promise<ExportManifest> {
  await newFolder(folder);
  const counts = { conversations: 0, messages: 0 };
  const conversations = await createLines(join(folder, CONVERSATIONS));
  const messages = await createLines(join(folder, MESSAGES));

  /** Writes a conversation; false, and nothing written, when messages changed after its state was read. */
  async function write(id: ConversationId): Promise<boolean> {
    const state = await store.conversation(id);
    if (!state) throw new Error(`${id} cannot be read`);
    const begin = await messages.flush();
    let seq = 0;
    for await (const page of pagesOf(store, state)) {
      for (const message of page) {
        if (message.seq !== ++seq) throw new Error(`${id} has no message ${seq}: see \`kredichat check\``);
        if (message.rev > state.lastRev) {
          await messages.cut(begin);
          return false;
        }
        await messages.add(message);
      }
      progress(page.length);
    }
    await conversations.add(exported(state));
    counts.conversations++;
    counts.messages += state.lastSeq;
    return true;
  }

  try {
    for await (const id of allConversations(store)) {
      let reads = 1;
      while (!(await write(id)))
        if (reads++ === MAX_READS) throw new Error(`${id} changed during each of ${MAX_READS} reads`);
    }
  } finally {
    await conversations.close();
    await messages.close();
  }
  return writeManifest<ExportManifest>(folder, [CONVERSATIONS, MESSAGES], { format: 'export 1', program, ...counts });
}
