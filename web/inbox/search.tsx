import { useEffect, useState } from 'react';
import type { Client, SearchHit, SearchPage } from '../client/index.ts';
import { clockTime, initials, shortName, shortTime, tint, title } from './format.ts';
import { moveFocus } from './move-focus.ts';
import { hashOf } from './route.ts';
import { snippet } from './snippet.ts';

/** What is looked for, and where: everywhere, or in one conversation. */
export interface Search {
  readonly text: string;
  readonly in: { readonly id: string; readonly name: string } | null;
}

interface SearchFieldProps {
  readonly search: Search;
  onChange(search: Search): void;
}

/** Where one says what to look for. */
export function SearchField({ search, onChange }: SearchFieldProps) {
  return (
    <search className="search-field">
      <input
        id="search"
        type="search"
        aria-label="Search messages"
        placeholder={search.in ? 'Search here' : 'Search messages'}
        autoComplete="off"
        maxLength={200}
        value={search.text}
        onChange={({ target }) => onChange({ ...search, text: target.value })}
        onKeyDown={({ key }) => key === 'Escape' && onChange({ text: '', in: null })}
      />
      {search.in && (
        <button type="button" className="scope truncate" onClick={() => onChange({ ...search, in: null })}>
          in {search.in.name} <span aria-hidden="true">×</span>
          <span className="hidden">, search everywhere</span>
        </button>
      )}
    </search>
  );
}

/** How long it waits for more letters, in milliseconds. */
const PAUSE_MS = 200;

interface ResultsProps {
  readonly client: Client;
  readonly search: Search;
  readonly me: string;
}

/** What was found, best match first; each leads to its message. */
export function SearchResults({ client, search, me }: ResultsProps) {
  const [hits, setHits] = useState<readonly SearchHit[] | null>(null);
  const [more, setMore] = useState<SearchPage['more']>(null);
  const [error, setError] = useState<string | null>(null);
  const within = search.in?.id;
  // What is still being typed is the beginning of a word.
  const query = /[\p{L}\p{N}]$/u.test(search.text) ? `${search.text}*` : search.text;

  useEffect(() => {
    let present = true;
    const timer = setTimeout(() => {
      client.search(query, within === undefined ? {} : { in: within }).then(
        (page) => {
          if (!present) return;
          setError(null);
          setHits(page.hits);
          setMore(() => page.more);
        },
        (thrown: Error) => present && setError(thrown.message),
      );
    }, PAUSE_MS);
    return () => {
      present = false;
      clearTimeout(timer);
    };
  }, [client, query, within]);

  useEffect(
    () =>
      client.onGone((id) =>
        setHits((before) => before?.filter(({ message }) => message.conversationId !== id) ?? null),
      ),
    [client],
  );

  async function goOn() {
    const page = await more?.().catch((thrown: Error) => setError(thrown.message));
    if (!page) return;
    setHits((before) => [...(before ?? []), ...page.hits]);
    setMore(() => page.more);
  }

  const found = hits?.length ?? 0;
  return (
    <>
      <p className={found > 0 ? 'hidden' : 'list-note'} role="status">
        {error ??
          (!hits ? 'Searching …' : found > 0 ? `${found}${more ? ' or more' : ''} found` : 'Nothing was found.')}
      </p>
      <ul className="chats" aria-label="Found messages" onKeyDown={moveFocus}>
        {hits?.map((hit) => (
          <Hit key={hit.message.id} hit={hit} query={query} me={me} />
        ))}
      </ul>
      {more && (
        <button type="button" className="more-hits" onClick={() => void goOn()}>
          More
        </button>
      )}
    </>
  );
}

function Hit({ hit: { message, conversation }, query, me }: { hit: SearchHit; query: string; me: string }) {
  const { seq, conversationId, sender, sentAt, text } = message;
  const name = conversation ? title(conversation, me) : 'A conversation';
  return (
    <li>
      <a href={hashOf({ ref: { id: conversationId }, at: seq })} className="chat hit">
        <span className={`avatar tint-${tint(conversationId)}`} aria-hidden="true">
          {initials(name)}
        </span>
        <span className="chat-name truncate">{name}</span>
        <time dateTime={sentAt} title={clockTime(sentAt)}>
          {shortTime(sentAt)}
        </time>
        <span className="chat-last" dir="auto">
          {sender === me ? 'You' : shortName(sender)}:{' '}
          {snippet(text, query).map(({ text: part, found, at }) => (found ? <mark key={at}>{part}</mark> : part))}
        </span>
      </a>
    </li>
  );
}
