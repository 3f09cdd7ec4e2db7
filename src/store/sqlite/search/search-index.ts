import type Database from 'libsql';
import type { Seq } from '../../../model.ts';
import { keysOf, type Term, wordsOf } from '../../tokenizer.ts';

/**
 * An inverted index of the words of every TEXT message. Its terms are `CONVERSATION_WORD`, so that a word or a prefix
 * is looked up within one conversation, without passing over entries of others. The words are folded already: the FTS5
 * tokenizer only splits them. The index keeps no texts, but the words of removed messages until its segments are
 * merged: see `scrubber.ts`. (FTS5's own `secure-delete` leaves an index in SQLite 3.45 that the integrity check
 * refuses.) A row's id is the conversation's primary key and the message's `seq`, 32 bits each.
 */
export const SEARCH_TABLE = `
  CREATE VIRTUAL TABLE search USING fts5(terms, content='', detail=none, columnsize=0, tokenize="ascii tokenchars '_'");
  `;

/** Primary key of the conversation, `seq` of the message, and its text. */
export type IndexRow = readonly [pk: number, seq: Seq, text: string];

const ROW_ID = '(value ->> 0) << 32 | (value ->> 1)';

export type SearchIndex = ReturnType<typeof createSearchIndex>;

/** The writing half of the index. A message must be removed with the same text it was added with. */
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

/** The FTS5 expression for messages of these conversations that may match all terms. */
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
