import type Database from 'libsql';
import { keysOf, type Term, wordsOf } from '../tokenizer.ts';

/**
 * An inverted index of the words of every TEXT message. Its terms are `CONVERSATION_WORD`, so that a word is looked up
 * within one conversation and what others wrote is not even passed over, a prefix included. The words are folded
 * already: the tokenizer only has to part them. It keeps no texts, but the words of what was removed until its parts are
 * merged: see `scrubber.ts`. (FTS5's own `secure-delete` leaves an index in SQLite 3.45 that the integrity check refuses.)
 * A row's id is the conversation's number and the message's, 32 bits each.
 */
export const SEARCH_TABLE = `
  CREATE VIRTUAL TABLE search USING fts5(terms, content='', detail=none, columnsize=0, tokenize="ascii tokenchars '_'");
  `;

/** The conversation's number, the message's, and its text. */
export type IndexRow = readonly [pk: number, seq: number, text: string];

const ROW_ID = '(value ->> 0) << 32 | (value ->> 1)';

export type SearchIndex = ReturnType<typeof createSearchIndex>;

/** The index as the writer sees it. What is removed must be given with the very text it was added with. */
export function createSearchIndex(db: Database.Database) {
  const insert = db.prepare(`INSERT INTO search (rowid, terms) SELECT ${ROW_ID}, value ->> 2 FROM json_each(?)`);
  const remove = db.prepare(`INSERT INTO search (search, rowid, terms)
    SELECT 'delete', ${ROW_ID}, value ->> 2 FROM json_each(?)`);

  const run = (statement: Database.Statement, rows: readonly IndexRow[]): void => {
    const documents = rows.map(([pk, seq, text]) => [pk, seq, termsIn(pk, text)]).filter(([, , terms]) => terms !== '');
    if (documents.length > 0) statement.run([JSON.stringify(documents)]);
  };

  return {
    add: (rows: readonly IndexRow[]) => run(insert, rows),
    remove: (rows: readonly IndexRow[]) => run(remove, rows),
  };
}

/** The match expression for what may match all terms in one of the conversations. */
export function matchOf(pks: readonly number[], terms: readonly Term[]): string {
  const keys = terms.flatMap(keysOf);
  const one = (pk: number) =>
    keys.map(({ word, prefix }) => `"${termOf(pk, word)}"${prefix ? ' *' : ''}`).join(' AND ');
  return pks.map((pk) => `(${one(pk)})`).join(' OR ');
}

function termsIn(pk: number, text: string): string {
  const words = wordsOf(text);
  const prefix = termOf(pk, '');
  return words.length > 0 ? prefix + words.join(` ${prefix}`) : '';
}

function termOf(pk: number, word: string): string {
  return `${pk.toString(36)}_${word}`;
}
