import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Conversation, ConversationId } from '../../model.ts';
import { noteText } from '../../record/checkpoints.ts';
import type { RecordKeys } from '../../record/keys.ts';
import { parseCheckpoint } from '../../record/signed-note.ts';
import type { Store } from '../../store/store.ts';
import { allConversations, MAX_READS, pagesOf, type WholeStore } from '../../store/walk.ts';
import { newFolder, writeManifest } from '../manifest.ts';
import { CONVERSATIONS, createLines, type ExportManifest, exported, MESSAGES, type Scope } from './files.ts';
import { createRecordFiles, DISCLOSURES, ENTRIES, type ExportReads, READS } from './record.ts';
import { CONVERSATION_END, conversationHead, messageRow, TRANSCRIPT_END, transcriptHead } from './transcript.ts';

const [REGISTER, CHECKPOINT, KEYS] = ['register.ndjson', 'checkpoint.txt', 'keys.txt'];
const [TRANSCRIPT, FORMAT] = ['transcript.html', 'FORMAT.md'];
/** The description of the formats, which each export holds. */
const RECORD_MD = new URL('../../../docs/RECORD.md', import.meta.url);
/** Leaves of the register read at once. */
const LEAVES = 1000;

export interface ExportOptions {
  readonly scope: Scope;
  /** New or empty. */
  readonly folder: string;
  /** Version of this program. */
  readonly program: string;
  readonly keys: RecordKeys;
}

/**
 * Writes conversations with their record to a folder, while a server may use the store: each conversation in one of its
 * states, the record as of the newest checkpoint. `progress` is called with the number of messages done since. The
 * manifest is written last.
 * @throws Error when there is no such conversation, the folder is not empty, a log has a hole, or a conversation
 * changes during each of `MAX_READS` reads
 */
export async function exportStore(
  store: WholeStore & ExportReads & Pick<Store, 'register' | 'leaves'>,
  { scope, folder, program, keys }: ExportOptions,
  progress: (messages: number) => void,
): Promise<ExportManifest> {
  await newFolder(folder);
  const { checkpoint: note } = await store.register();
  const checkpoint = note === null ? null : { note, size: parseCheckpoint(noteText(note)).size };
  const counts = { conversations: 0, messages: 0 };
  // The files for an import hold the views of members, which are not for the parties of a dispute.
  const ofStore = scope.kind === 'all' ? [CONVERSATIONS, MESSAGES] : [];
  const [conversations, messages] = await Promise.all(ofStore.map((name) => createLines(join(folder, name))));
  const transcript = await createLines(join(folder, TRANSCRIPT));
  const record = await createRecordFiles(store, folder, checkpoint);

  /** Writes a conversation; false, and nothing written, when messages changed after its state was read. */
  async function writeConversation(state: Conversation): Promise<boolean> {
    const begins = [await messages?.flush(), await transcript.flush()] as const;
    const undo = async () => {
      await messages?.cut(begins[0] ?? 0);
      await transcript.cut(begins[1]);
      return false;
    };
    await transcript.addLine(conversationHead(state));
    let seq = 0;
    for await (const page of pagesOf(store, state)) {
      for (const message of page) {
        if (message.seq !== ++seq) throw new Error(`${state.id} has no message ${seq}: see \`kredichat check\``);
        if (message.rev > state.lastRev) return undo();
        await messages?.add(message);
        await transcript.addLine(messageRow(message, state));
      }
      progress(page.length);
    }
    await transcript.addLine(CONVERSATION_END);
    if (!(await record.add(state))) return undo();
    await conversations?.add(exported(state));
    counts.conversations++;
    counts.messages += state.lastSeq;
    return true;
  }

  async function write(id: ConversationId): Promise<void> {
    for (let reads = 1; ; reads++) {
      const state = await store.conversation(id);
      if (!state) throw new Error(`${id} cannot be read`);
      if (scope.kind === 'config' && state.configId !== scope.value) return;
      if (await writeConversation(state)) return;
      if (reads === MAX_READS) throw new Error(`${id} changed during each of ${MAX_READS} reads`);
    }
  }

  const names = [...ofStore, TRANSCRIPT, ENTRIES, DISCLOSURES, READS, KEYS, FORMAT];
  try {
    await transcript.addLine(transcriptHead(program, note));
    if (scope.kind === 'conversation') await write(scope.value as ConversationId);
    else for await (const id of allConversations(store)) await write(id);
    await transcript.addLine(TRANSCRIPT_END);
  } finally {
    for (const file of [conversations, messages, transcript, record]) await file?.close();
  }
  if (counts.conversations === 0 && scope.kind === 'config') throw new Error(`no conversation is about ${scope.value}`);
  if (checkpoint) {
    await writeFile(join(folder, CHECKPOINT), checkpoint.note);
    names.push(CHECKPOINT);
  }
  if (scope.kind === 'all') names.push(await writeRegister(store, folder, checkpoint?.size ?? 0));
  await writeFile(join(folder, KEYS), keys.signers.map(({ vkey }) => `${vkey}\n`).join(''));
  await copyFile(RECORD_MD, join(folder, FORMAT));
  const { proofs, ...ofRecord } = record.counts;
  const contents = { format: 'export 1' as const, program, scope, ...counts, ...ofRecord, withheld: [] };
  return writeManifest<ExportManifest>(folder, [...names, ...proofs], contents);
}

/** Writes the leaves of the whole register. */
async function writeRegister(store: Pick<Store, 'leaves'>, folder: string, size: number): Promise<string> {
  const file = await createLines(join(folder, REGISTER));
  try {
    for (let from = 0; from < size; from += LEAVES)
      for (const leaf of await store.leaves(from, Math.min(from + LEAVES, size))) await file.addLine(leaf);
  } finally {
    await file.close();
  }
  return REGISTER;
}
