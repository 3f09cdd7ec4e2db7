import {
  CONVERSATION_END,
  conversationStart,
  TRANSCRIPT_END,
  transcriptRow,
  transcriptStart,
} from '../../../src/commands/export/transcript-html.ts';
import {
  type Client,
  type ConversationFieldsFragment,
  KredichatError,
  ProvenMessagesDocument,
  type ProvenMessagesQuery,
} from '../../client/index.ts';
import { entryHash, readProof } from './proof.ts';

type Page = NonNullable<ProvenMessagesQuery['conversation']>['messages'];
type ProvenMessage = Page['nodes'][number];

/** Messages in a page: a proof counts as 100 values, and holds the text. */
const PAGE = 20;

const timeOf = (instant: string) => new Date(instant).toISOString();

/**
 * Makes the transcript of a conversation: all messages that the viewer may see, with their proofs, as one HTML page.
 * The browser holds the parts, and may keep them on disk.
 * @param onProgress gets the `seq` of the last message that is in it
 * @throws the reason of `signal` once it is aborted; KredichatError
 */
export async function makeTranscript(
  client: Client,
  conversation: ConversationFieldsFragment,
  signal: AbortSignal,
  onProgress: (seq: number) => void,
): Promise<Blob> {
  const members = conversation.members.map(({ email, leftAt }) => ({ email, hasLeft: leftAt !== null }));
  const { id, configId, subject } = conversation;
  const start = transcriptStart([
    `What one member may see of the conversation, at ${new Date().toISOString()}. Times are in UTC.`,
    'The hash is the beginning of the leaf hash of the newest entry of the message. The proof of that entry can be ' +
      'checked without the server, against a verifier key that was obtained earlier or elsewhere.',
  ]);
  const parts = [new Blob([start, conversationStart({ id, configId, subject, members })])];
  let unsigned = 0;
  for await (const { nodes } of pagesOf(client, id)) {
    signal.throwIfAborted();
    const rows = await Promise.all(nodes.map(rowOf));
    signal.throwIfAborted();
    parts.push(new Blob(rows));
    unsigned += nodes.filter(({ proof }) => proof === null).length;
    onProgress(nodes.at(-1)?.seq ?? 0);
  }
  const note = unsigned === 0 ? 'All messages are signed.' : `Messages that are not signed yet: ${unsigned}.`;
  return new Blob([...parts, CONVERSATION_END, `<p>${note}</p>\n`, TRANSCRIPT_END], { type: 'text/html' });
}

/** The pages of a conversation, from its first message on; smaller ones where the server refuses large ones. */
async function* pagesOf(client: Client, id: string): AsyncGenerator<Page> {
  let size = PAGE;
  for (let after: string | null = null; ; ) {
    let page: Page;
    try {
      const answer: ProvenMessagesQuery = await client.run(ProvenMessagesDocument, { id, first: size, after });
      if (!answer.conversation) throw new KredichatError('NOT_FOUND', 'You are not in this conversation any more.');
      page = answer.conversation.messages;
    } catch (error) {
      if (!(error instanceof KredichatError && error.code === 'BAD_USER_INPUT') || size === 1) throw error;
      size = Math.ceil(size / 4);
      continue;
    }
    yield page;
    if (!page.pageInfo.hasNextPage) return;
    after = page.pageInfo.endCursor;
  }
}

async function rowOf(message: ProvenMessage): Promise<string> {
  const { seq, sender, text, sentAt, editedAt, redactedAt, revisions, proof } = message;
  const proven = proof === null ? null : readProof(proof);
  const by = proven?.type === 'REDACTED' && proven.by !== '' ? proven.by : 'unknown';
  return transcriptRow({
    ...{ seq, sender, text, proof, sentAt: timeOf(sentAt), editedAt: editedAt === null ? null : timeOf(editedAt) },
    revisions: revisions.map(({ text, at }) => ({ text, at: timeOf(at) })),
    redaction: redactedAt === null ? null : { at: timeOf(redactedAt), by, reason: proven?.values.get('reason') ?? '' },
    hash: proven && (await entryHash(proven.entry)),
  });
}
