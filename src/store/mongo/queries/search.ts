import type { ClientSession, Filter } from 'mongodb';
import type { ConversationId, EmailAddress } from '../../../model.ts';
import { MAX_RANKED, MAX_SEARCHED, type Ranked, rank, stillMatching } from '../../ranking.ts';
import type { SearchPage, Store } from '../../store.ts';
import { type IndexKey, keysOf, type Term } from '../../tokenizer.ts';
import { type Collections, type ConversationDocument, type MessageDocument, present, toMessage } from '../documents.ts';
import type { createChatList } from './chat-list.ts';

/** Time limit of one search, in milliseconds: frequent words that never occur together are all read. */
const LOOK_MS = 1000;
/** Texts that are scored before the event loop runs other work, and that are received at once. */
const [TEXTS, RECEIVED] = [50, 250];
/** Leaves out large fields that are not compared; earlier texts are read for the page alone. */
const PROJECTION = { words: 0, changes: 0, revisions: 0 } as const;

/** Projection for a search: activity and pending messages. */
const SEARCHED = { lastActivityAt: 1, tail: 1, changed: 1 } as const;

/**
 * The port's search: in `messages` by an index of each conversation's words, and in the conversations' documents for
 * messages not moved there yet.
 */
export function createSearch(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  session: ClientSession,
  list: ReturnType<typeof createChatList>['list'],
): Store['search'] {
  /** The conversations to search, most recently active first. */
  async function searched(reader: EmailAddress, id: ConversationId | null): Promise<ConversationDocument[]> {
    if (id)
      return conversations
        .find<ConversationDocument>({ _id: id, ...present(reader) }, { session, projection: SEARCHED })
        .toArray();
    const found: ConversationDocument[] = [];
    for (const archived of [false, true]) {
      const filter = { configId: null, status: null, label: null, unreadOnly: false, archived };
      for await (const conversation of list<ConversationDocument>(
        reader,
        filter,
        { after: null },
        MAX_SEARCHED,
        SEARCHED,
      ))
        found.push(conversation);
    }
    return found.sort((a, b) => b.lastActivityAt - a.lastActivityAt || (a._id < b._id ? -1 : 1)).slice(0, MAX_SEARCHED);
  }

  /**
   * Candidates in the order in which they are ranked: the most recently active conversation first, in it the newest.
   */
  async function* candidates(where: readonly ConversationDocument[], terms: readonly Term[]): AsyncGenerator<Found[]> {
    const until = performance.now() + LOOK_MS;
    const $and = terms.flatMap(keysOf).map(condition);
    const find = (filter: Filter<MessageDocument>, limit: number) => {
      const maxTimeMS = Math.max(1, Math.ceil(until - performance.now()));
      const options = { session, projection: PROJECTION, batchSize: RECEIVED, maxTimeMS };
      return messages.find<Candidate>({ ...filter, $and }, options).limit(limit);
    };
    const all = await find({ conversation: { $in: where.map(({ _id }) => _id) } }, MAX_RANKED + 1).toArray();
    const complete = all.length <= MAX_RANKED;
    for (const { _id: conversation, tail, changed = [] } of where) {
      const pending = [...tail, ...changed];
      if (complete) {
        const own = all.filter((document) => document.conversation === conversation);
        yield* inParts(newestOf([...own, ...pending]));
        continue;
      }
      // More than are ranked: read as far as ranking gets, since many of those found may turn out not to match.
      for (let before = Number.POSITIVE_INFINITY; before > 0; ) {
        const some = await find({ conversation, seq: { $lt: before } }, MAX_RANKED)
          .sort({ seq: -1 })
          .toArray();
        const from = some.length < MAX_RANKED ? 0 : (some.at(-1)?.seq ?? 0);
        yield* inParts(newestOf([...some, ...pending.filter(({ seq }) => seq < before && seq >= from)]));
        before = from;
      }
    }
  }

  /** The whole messages of a page. A message changed in between is left out, unless it still matches. */
  async function complete({ hits, ...rest }: SearchPage<Found>, terms: readonly Term[]): Promise<SearchPage> {
    const pending = hits.flatMap(({ message: { document } }) => ('revisions' in document ? [document] : []));
    const others = hits.filter(({ message: { document } }) => !('revisions' in document));
    const conversation = { $in: [...new Set(others.map(({ message }) => message.conversationId))] };
    const those = { conversation, _id: { $in: others.map(({ message }) => message.document._id) } };
    const found = others.length > 0 ? await messages.find(those, { session }).toArray() : [];
    const whole = new Map([...pending, ...found].map((document) => [document._id, document]));
    return {
      hits: await stillMatching(hits, terms, ({ document }) => {
        const message = whole.get(document._id);
        return message?.counts ? toMessage(message) : undefined;
      }),
      ...rest,
    };
  }

  return async (reader, { terms, conversation }, page) => {
    // In this order, messages moved out of a conversation's document meanwhile are found in `messages`.
    const where = await searched(reader, conversation);
    if (where.length === 0) return { hits: [], hasNextPage: false, hasPreviousPage: false };
    return complete(await rank(candidates(where, terms), terms, page), terms);
  };
}

/** The messages that count as unread, each in its newest version, the newest message first. */
function newestOf(documents: readonly Candidate[]): Found[] {
  const newest = new Map<string, Candidate>();
  for (const document of documents) {
    if (document.rev > (newest.get(document._id)?.rev ?? 0)) newest.set(document._id, document);
  }
  return [...newest.values()]
    .filter(({ counts }) => counts)
    .sort((a, b) => b.seq - a.seq)
    .map((document) => ({ ...rankedBy(document), document }));
}

/** A message that may match: from `messages` without its revisions, with them where it is pending. */
type Candidate = Omit<MessageDocument, 'revisions'> | MessageDocument;

interface Found extends Ranked {
  readonly document: Candidate;
}

function rankedBy({ conversation: conversationId, seq, sentAt, text }: Candidate): Ranked {
  return { conversationId, seq, sentAt, text };
}

function* inParts<T>(all: readonly T[]): Generator<T[]> {
  for (let i = 0; i < all.length; i += TEXTS) yield all.slice(i, i + TEXTS);
}

function condition({ word, prefix }: IndexKey): Filter<MessageDocument> {
  // A word consists of letters, digits and marks: none of them is special in a regular expression.
  return { words: prefix ? { $regex: `^${word}` } : word };
}
