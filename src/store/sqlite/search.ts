import type Database from 'libsql';
import type { ConversationId, EmailAddress, Message } from '../../model.ts';
import { choose, MAX_RANKED, MAX_SEARCHED, rank } from '../ranking.ts';
import type { SearchPage, SearchQuery, SearchSlice } from '../store.ts';
import { countMatches, type Term, wordsOf } from '../words.ts';
import { MESSAGE, type MessageRow, toMessage } from './message-row.ts';
import { matchOf } from './search-index.ts';

/** A conversation of so few messages is read: that costs less than a look into the index. */
const SHORT = 3;
/** Conversations that one look into the index asks for: a look for each would cost more than the looking. */
const CHUNK = 50;

/** The statements of a search, for tests that look at their query plans. */
export const SEARCH_SQL = {
  searched: `SELECT c.pk, c.id, c.indexed_seq AS indexedSeq, c.last_seq AS lastSeq FROM members r JOIN conversations c ON c.pk = r.conversation
    WHERE r.email = @reader AND r.left_at IS NULL AND (@id IS NULL OR c.id = @id)
    ORDER BY c.last_activity_at DESC, c.id LIMIT @limit`,
  matches: `SELECT rowid >> 32 AS pk, rowid & 0xffffffff AS seq FROM search WHERE search MATCH @match
    ORDER BY rowid DESC LIMIT @limit`,
  short: `SELECT json_group_array(json_array(m.conversation, m.seq, m.sent_at, m.text)) AS json FROM json_each(@rows) k
    CROSS JOIN messages m ON m.conversation = k.value WHERE m.kind = 'TEXT' AND m.redacted_at IS NULL`,
  ranked: `SELECT json_group_array(json_array(m.conversation, m.seq, m.sent_at, m.text)) AS json FROM json_each(@rows) k
    CROSS JOIN messages m ON m.conversation = k.value ->> 0 AND m.seq = k.value ->> 1`,
  matched: `SELECT json_group_array(json_array(m.conversation, ${MESSAGE})) AS json FROM json_each(@rows) k
    CROSS JOIN messages m ON m.conversation = k.value ->> 0 AND m.seq = k.value ->> 1`,
} as const;

interface Match {
  readonly pk: number;
  readonly seq: number;
}

/** A conversation that is looked at. */
interface Searched {
  readonly pk: number;
  readonly id: ConversationId;
  readonly indexedSeq: number;
  readonly lastSeq: number;
}

/** The conversation's number, the message's, when it was sent, and its text. */
type Candidate = [pk: number, seq: number, sentAt: number, text: string];

/** Searches as the port has it, over one connection. `catchUp` brings conversations into the index that are not there yet. */
export function createSearch(db: Database.Database, catchUp: (pks: readonly number[]) => Promise<unknown>) {
  const searched = db.prepare(SEARCH_SQL.searched);
  const matches = db.prepare(SEARCH_SQL.matches);
  const shortTexts = db.prepare(SEARCH_SQL.short);
  const ranked = db.prepare(SEARCH_SQL.ranked);
  const matched = db.prepare(SEARCH_SQL.matched);

  function read<Row>(statement: Database.Statement, rows: readonly unknown[]): Row[] {
    const { json } = statement.get({ rows: JSON.stringify(rows) }) as { json: string };
    return JSON.parse(json) as Row[];
  }

  function look(pks: readonly number[], terms: readonly Term[], limit: number): Match[] {
    return matches.all({ match: matchOf(pks, terms), limit }) as Match[];
  }

  /** The newest matches of each conversation in turn, as far as they are ranked. */
  function collect(pks: readonly number[], terms: readonly Term[]): Match[] {
    const found: Match[] = [];
    for (let i = 0; i < pks.length && found.length < MAX_RANKED; i += CHUNK) {
      const chunk = pks.slice(i, i + CHUNK);
      const room = MAX_RANKED - found.length;
      const together = look(chunk, terms, room + 1);
      if (together.length <= room) found.push(...together);
      else for (const pk of chunk) found.push(...look([pk], terms, MAX_RANKED - found.length));
    }
    return found;
  }

  return async function search(
    reader: EmailAddress,
    { terms, conversation }: SearchQuery,
    page: SearchSlice,
  ): Promise<SearchPage> {
    const where = searched.all({ reader, id: conversation, limit: MAX_SEARCHED }) as Searched[];
    const [short, long] = [where.filter(isShort), where.filter((one) => !isShort(one))];
    const behind = long.filter(({ indexedSeq, lastSeq }) => indexedSeq < lastSeq).map(({ pk }) => pk);
    if (behind.length > 0) await catchUp(behind);
    const found = collect(
      long.map(({ pk }) => pk),
      terms,
    ).map(({ pk, seq }) => [pk, seq]);
    const rows = [
      ...read<Candidate>(ranked, found),
      ...read<Candidate>(
        shortTexts,
        short.map(({ pk }) => pk),
      ),
    ];
    const places = new Map(where.map(({ pk, id }, place) => [pk, { conversationId: id, place }]));
    const candidates = rows.flatMap(([pk, seq, sentAt, text]) => {
      const where = places.get(pk);
      return where && countMatches(wordsOf(text), terms) > 0 ? [{ pk, ...where, seq, sentAt, text }] : [];
    });
    const { hits, ...rest } = rank(
      choose(candidates, ({ place }) => place),
      terms,
      page,
    );
    const messages = new Map<string, Message>();
    for (const [pk, row] of read<[number, MessageRow]>(
      matched,
      hits.map(({ message: { pk, seq } }) => [pk, seq]),
    )) {
      const where = places.get(pk);
      const message = where && toMessage(where.conversationId, row);
      if (message) messages.set(`${pk} ${message.seq}`, message);
    }
    const whole = hits.flatMap(({ message: { pk, seq, text }, position }) => {
      const message = messages.get(`${pk} ${seq}`);
      // What was changed in between is not what was found.
      return message?.text === text ? [{ message, position }] : [];
    });
    return { hits: whole, ...rest };
  };
}

function isShort({ lastSeq }: Searched): boolean {
  return lastSeq <= SHORT;
}
