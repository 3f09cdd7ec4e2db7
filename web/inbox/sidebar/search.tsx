import type { Client, SearchHit } from '../../client/index.ts';
import { hashOf } from '../route.ts';
import { Isolate } from '../shared/bidi.tsx';
import { fullTime, initials, others, shortTime, tint, title } from '../shared/format.ts';
import { moveFocus } from '../shared/move-focus.ts';
import { Person, useNames } from '../shared/names.tsx';
import { useClock } from '../shared/use-clock.ts';
import { snippet } from './snippet.ts';
import { type Outcome, useSearch } from './use-search.ts';

/** The text to search for, and the conversation to search; null for all. */
export interface Search {
  readonly text: string;
  readonly in: { readonly id: string; readonly name: string } | null;
}

interface SearchFieldProps {
  readonly search: Search;
  onChange(search: Search): void;
}

/** The search field. */
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
          in <Isolate text={search.in.name} /> <span aria-hidden="true">×</span>
          <span className="hidden">, search everywhere</span>
        </button>
      )}
    </search>
  );
}

interface ResultsProps {
  readonly client: Client;
  readonly search: Search;
  readonly me: string;
}

/** The search results, best match first, as links to the messages. */
export function SearchResults({ client, search, me }: ResultsProps) {
  useClock();
  // The last word may be incomplete, so it is searched as a prefix.
  const query = /[\p{L}\p{N}\p{M}]$/u.test(search.text) ? `${search.text}*` : search.text;
  const { outcome, loadMore } = useSearch(client, query, search.in?.id);
  const { hits = [], more = null, error = null } = outcome ?? {};
  return (
    <>
      <p className={hits.length > 0 && !error ? 'hidden' : 'list-note'} role="status">
        {outcome ? summary(outcome) : 'Searching …'}
      </p>
      <ul className="chats" aria-label="Found messages" onKeyDown={moveFocus}>
        {hits.map((hit) => (
          <Hit key={hit.message.id} hit={hit} query={query} me={me} />
        ))}
      </ul>
      {more && (
        <button type="button" className="more-hits" onClick={() => void loadMore()}>
          More
        </button>
      )}
    </>
  );
}

function summary({ hits, more, error }: Outcome): string {
  if (error && hits.length > 0) return `More could not be loaded: ${error.message}`;
  if (error) return `The search failed: ${error.message}${error.transient ? ' It will be repeated.' : ''}`;
  return hits.length > 0 ? `${hits.length}${more ? ' or more' : ''} found` : 'Nothing was found.';
}

function Hit({ hit: { message, conversation }, query, me }: { hit: SearchHit; query: string; me: string }) {
  const { seq, conversationId, sender, sentAt, text } = message;
  const nameOf = useNames();
  const name = title(conversation, me, nameOf);
  return (
    <li>
      <a href={hashOf({ ref: { id: conversationId }, at: seq })} className="chat hit">
        <span className={`avatar tint-${tint(conversationId)}`} aria-hidden="true">
          {initials(name)}
        </span>
        <span className="chat-name truncate" title={others(conversation.firstMembers, me).join(', ')}>
          <Isolate text={name} />
        </span>
        <time dateTime={sentAt} title={fullTime(sentAt)}>
          {shortTime(sentAt)}
        </time>
        <span className="chat-last" dir="auto">
          {sender === me ? <bdi>You</bdi> : <Person email={sender} />}:{' '}
          {snippet(text, query).map(({ text: part, found, at }) => (found ? <mark key={at}>{part}</mark> : part))}
        </span>
      </a>
    </li>
  );
}
