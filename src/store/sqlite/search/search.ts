import type Database from 'libsql';
import type { ConversationId, EmailAddress, Seq } from '../../../model.ts';
import { MAX_RANKED, MAX_SEARCHED, type Ranked, rank, stillMatching } from '../../ranking.ts';
import { type SearchPage, type SearchQuery, type SearchSlice, StoreUnavailable } from '../../store.ts';
import type { Term } from '../../tokenizer.ts';
import { MESSAGE, type MessageRow, toMessage } from '../message-row.ts';
import { matchOf } from './search-index.ts';

/** Conversations of at most so many messages are read: that costs less than an index look-up. */
const SHORT_LOG = 3;
/** Conversations per index look-up: a look-up for each would cost more. */
const CONVERSATIONS_PER_QUERY = 50;
/** Texts that are read and scored before the event loop runs other work. */
const TEXTS_PER_READ = 50;
/** How often a search has the index catch up; messages not in it then are read. */
const MAX_CATCH_UPS = 20;
/** How often a search may query the index again because texts did not match; each time 1,000 are compared. */
const MAX_FURTHER_QUERIES = 20;
/** Messages missing from the index, in all conversations together, that are read rather than waited for. */
const MAX_UNINDEXED = 500;

/** The statements of a search, for tests that look at their query plans. */
export const SEARCH_SQL = {
  searched: `SELECT c.pk, c.id, c.indexed_seq AS indexedSeq, c.last_seq AS lastSeq
    FROM members r JOIN conversations c ON c.pk = r.conversation
    WHERE r.email = @reader AND r.left_at IS NULL AND (@id IS NULL OR c.id = @id)
    ORDER BY c.last_activity_at DESC, c.id LIMIT @limit`,
  matches: `SELECT rowid >> 32 AS pk, rowid & 0xffffffff AS seq FROM search WHERE search MATCH @match
    AND rowid < @before ORDER BY rowid DESC LIMIT @limit`,
  texts: `SELECT json_group_array(json_array(m.conversation, m.seq, m.sent_at, m.text)) AS json FROM json_each(@rows) k
    CROSS JOIN messages m ON m.conversation = k.value ->> 0 AND m.seq = k.value ->> 1
    WHERE m.kind = 'TEXT' AND m.redacted_at IS NULL`,
  matched: `SELECT json_group_array(json_array(m.conversation, m.seq, ${MESSAGE})) AS json FROM json_each(@rows) k
    CROSS JOIN messages m ON m.conversation = k.value ->> 0 AND m.seq = k.value ->> 1`,
} as const;

/** Primary key of the conversation, and `seq` of the message. */
type MessageKey = readonly [pk: number, seq: Seq];

/** A row of the index. */
interface Match {
  readonly pk: number;
  readonly seq: Seq;
}

/** After every row of the index. */
const END = 2n ** 63n - 1n;

/** A conversation that is searched. */
interface Searched {
  readonly pk: number;
  readonly id: ConversationId;
  readonly indexedSeq: Seq;
  readonly lastSeq: Seq;
}

interface Candidate extends Ranked {
  readonly pk: number;
}

/**
 * The port's search, over one connection. `catchUp` adds some of the conversations' missing messages to the index, and
 * resolves with whether there are more.
 */
export function createSearch(db: Database.Database, catchUp: (pks: readonly number[]) => Promise<boolean>) {
  const searched = db.prepare(SEARCH_SQL.searched);
  const matches = db.prepare(SEARCH_SQL.matches);
  const texts = db.prepare(SEARCH_SQL.texts);
  const matched = db.prepare(SEARCH_SQL.matched);

  function read<Row>(statement: Database.Statement, rows: readonly MessageKey[]): Row[] {
    const { json } = statement.get({ rows: JSON.stringify(rows) }) as { json: string };
    return JSON.parse(json) as Row[];
  }

  /** The newest matches in the index, before a row of it. */
  function query(conversations: readonly Searched[], terms: readonly Term[], limit: number, before = END): Match[] {
    const pks = conversations.map(({ pk }) => pk);
    return pks.length > 0 ? (matches.all({ match: matchOf(pks, terms), limit, before }) as Match[]) : [];
  }

  /** All matches in the index for one conversation, newest first: many of the texts may turn out not to match. */
  function* queryAll(one: Searched, terms: readonly Term[], further: { left: number }): Generator<Match> {
    let before = END;
    for (;;) {
      const some = query([one], terms, MAX_RANKED, before);
      yield* some;
      const last = some.at(-1);
      if (!last || some.length < MAX_RANKED) return;
      before = (BigInt(last.pk) << 32n) | BigInt(last.seq);
      if (further.left-- === 0)
        throw new StoreUnavailable(true, new Error('the search compared too many texts that did not match'));
    }
  }

  /** The conversations to search, once the index is not far behind in them. */
  async function current(reader: EmailAddress, id: ConversationId | null): Promise<Searched[]> {
    const now = () => searched.all({ reader, id, limit: MAX_SEARCHED }) as Searched[];
    const conversations = now();
    const behind = conversations.filter((one) => !isShort(one) && one.indexedSeq < one.lastSeq);
    if (behind.reduce((sum, { indexedSeq, lastSeq }) => sum + lastSeq - indexedSeq, 0) <= MAX_UNINDEXED)
      return conversations;
    const pks = behind.map(({ pk }) => pk);
    // Each is a command of its own: waiting writes are committed with it, or in between.
    for (let times = 0; times < MAX_CATCH_UPS && (await catchUp(pks)); ) times++;
    return now();
  }

  /** Candidates, in the order in which they are ranked. */
  function* candidates(conversations: readonly Searched[], terms: readonly Term[]): Generator<MessageKey> {
    const further = { left: MAX_FURTHER_QUERIES };
    for (let i = 0; i < conversations.length; i += CONVERSATIONS_PER_QUERY) {
      const chunk = conversations.slice(i, i + CONVERSATIONS_PER_QUERY);
      const indexed = chunk.filter((one) => indexedIn(one) > 0);
      const together = query(indexed, terms, MAX_RANKED + 1);
      const found = new Map<number, Match[]>(indexed.map(({ pk }) => [pk, []]));
      for (const match of together) found.get(match.pk)?.push(match);
      for (const one of chunk) {
        const upTo = indexedIn(one);
        for (let seq = one.lastSeq; seq > upTo; seq--) yield [one.pk, seq];
        if (upTo === 0) continue;
        const own = together.length > MAX_RANKED ? queryAll(one, terms, further) : (found.get(one.pk) ?? []);
        // Messages that were indexed meanwhile were read above.
        for (const { seq } of own) if (seq <= upTo) yield [one.pk, seq];
      }
    }
  }

  /** The texts of those keys, in batches. */
  function* textsOf(keys: Iterable<MessageKey>, conversations: readonly Searched[]): Generator<Candidate[]> {
    const ids = new Map(conversations.map(({ pk, id }) => [pk, id]));
    const readSome = (some: readonly MessageKey[]) =>
      read<[number, number, number, string]>(texts, some).flatMap(([pk, seq, sentAt, text]) => {
        const conversationId = ids.get(pk);
        return conversationId === undefined ? [] : [{ pk, conversationId, seq, sentAt, text }];
      });
    let some: MessageKey[] = [];
    for (const key of keys) {
      if (some.push(key) < TEXTS_PER_READ) continue;
      yield readSome(some);
      some = [];
    }
    yield readSome(some);
  }

  return async function search(
    reader: EmailAddress,
    { terms, conversation }: SearchQuery,
    page: SearchSlice,
  ): Promise<SearchPage> {
    const conversations = await current(reader, conversation);
    const { hits, ...rest } = await rank(textsOf(candidates(conversations, terms), conversations), terms, page);
    const rows = read<[number, number, MessageRow]>(
      matched,
      hits.map(({ message: { pk, seq } }) => [pk, seq]),
    );
    const messages = new Map(rows.map(([pk, seq, row]) => [`${pk} ${seq}`, row]));
    const whole = await stillMatching(hits, terms, ({ pk, conversationId, seq }) => {
      const row = messages.get(`${pk} ${seq}`);
      const message = row && toMessage(conversationId, row);
      return message?.redactedAt === null ? message : undefined;
    });
    return { hits: whole, ...rest };
  };
}

function isShort({ lastSeq }: Searched): boolean {
  return lastSeq <= SHORT_LOG;
}

/** `seq` up to which the index is used; later messages are read. */
function indexedIn(one: Searched): number {
  return isShort(one) ? 0 : one.indexedSeq;
}
