import type Database from 'libsql';
import type { ConversationId, EmailAddress, Message } from '../../model.ts';
import { MAX_RANKED, MAX_SEARCHED, rank } from '../ranking.ts';
import type { SearchPage, SearchQuery, SearchSlice } from '../store.ts';
import type { Term } from '../words.ts';
import { MESSAGE, type MessageRow, toMessage } from './message-row.ts';
import { matchOf } from './search-index.ts';

/** Conversations that one look into the index asks for: a look for each would cost more than the looking. */
const CHUNK = 50;

/** The statements of a search, for tests that look at their query plans. */
export const SEARCH_SQL = {
  searched: `SELECT c.pk, c.id, c.indexed_seq < c.last_seq AS behind FROM members r JOIN conversations c ON c.pk = r.conversation
    WHERE r.email = @reader AND r.left_at IS NULL AND (@id IS NULL OR c.id = @id)
    ORDER BY c.last_activity_at DESC, c.id LIMIT @limit`,
  matches: `SELECT rowid >> 32 AS pk, rowid & 0xffffffff AS seq FROM search WHERE search MATCH @match
    ORDER BY rowid DESC LIMIT @limit`,
  matched: `SELECT json_group_array(json_array(m.conversation, ${MESSAGE})) AS json FROM json_each(@rows) k
    CROSS JOIN messages m ON m.conversation = k.value ->> 0 AND m.seq = k.value ->> 1`,
} as const;

interface Match {
  readonly pk: number;
  readonly seq: number;
}

/** A conversation that is looked at; `behind` where not all of it is in the index. */
interface Searched {
  readonly pk: number;
  readonly id: ConversationId;
  readonly behind: 0 | 1;
}

/** Searches as the port has it, over one connection. `catchUp` brings conversations into the index that are not there yet. */
export function createSearch(db: Database.Database, catchUp: (pks: readonly number[]) => Promise<unknown>) {
  const searched = db.prepare(SEARCH_SQL.searched);
  const matches = db.prepare(SEARCH_SQL.matches);
  const matched = db.prepare(SEARCH_SQL.matched);

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
    const behind = where.filter((one) => one.behind === 1).map(({ pk }) => pk);
    if (behind.length > 0) await catchUp(behind);
    const ids = new Map(where.map(({ pk, id }) => [pk, id]));
    const rows = collect([...ids.keys()], terms).map(({ pk, seq }) => [pk, seq]);
    const { json } = matched.get({ rows: JSON.stringify(rows) }) as { json: string };
    const messages = (JSON.parse(json) as [number, MessageRow][]).flatMap(([pk, row]): Message[] => {
      const id = ids.get(pk);
      return id ? [toMessage(id, row)] : [];
    });
    return rank(messages, terms, page);
  };
}
