import { type KeyboardEvent, useEffect, useRef } from 'react';
import {
  type ChatListView,
  type ConversationFieldsFragment as Conversation,
  laneOf,
  type Outbox,
  type Outgoing,
} from '../client/index.ts';
import { nameList, shortName, shortTime, tint, title } from './format.ts';
import { hashOf, type Route } from './route.ts';
import { useReadable } from './use-readable.ts';

interface ChatListProps {
  readonly list: ChatListView;
  readonly outbox: Outbox;
  readonly me: string;
  readonly route: Route | null;
  onStart(): void;
}

/** The viewer's conversations, live, and above them those whose first message is still on its way. */
export function ChatList({ list, outbox, me, route, onStart }: ChatListProps) {
  const { conversations, loaded, hasMore, unreadTotal, error } = useReadable(list);
  const drafts = firstMessages(useReadable(outbox));
  const open = route && laneOf(route.ref);
  const end = useRef<HTMLLIElement>(null);

  useEffect(() => {
    document.title = unreadTotal > 0 ? `(${unreadTotal}) Kredichat` : 'Kredichat';
  }, [unreadTotal]);

  useEffect(() => {
    if (!end.current || !hasMore) return;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && void list.loadMore());
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [list, hasMore]);

  if (!loaded) return <p className="list-note">{error ? error.message : 'Loading …'}</p>;
  return (
    <>
      <p className="hidden" role="status">
        {unreadTotal === 0 ? 'No unread messages' : `${unreadTotal} unread messages`}
      </p>
      {conversations.length + drafts.length === 0 && (
        <div className="list-note">
          <p>No conversations yet. Name a document configuration and the people to talk to.</p>
          <button type="button" className="primary" onClick={onStart}>
            Start one
          </button>
        </div>
      )}
      <ul className="chats" onKeyDown={moveFocus}>
        {drafts.map((draft) => (
          <DraftRow key={draft.clientId} draft={draft} me={me} open={laneOf(draft.to) === open} />
        ))}
        {conversations.map((conversation) => (
          <Row key={conversation.id} conversation={conversation} me={me} open={conversation.id === open} />
        ))}
        {hasMore && <li ref={end} className="list-note" aria-hidden="true" />}
      </ul>
    </>
  );
}

interface RowProps {
  readonly conversation: Conversation;
  readonly me: string;
  readonly open: boolean;
}

function Row({ conversation, me, open }: RowProps) {
  const { id, configId, members, unreadCount, lastMessage, muted, lastActivityAt, status } = conversation;
  const name = title(conversation, me);
  return (
    <li>
      <a href={hashOf({ ref: { id } })} className="chat" aria-current={open ? 'page' : undefined}>
        <span className={`avatar tint-${tint(id)}`} aria-hidden="true">
          {initials(name)}
        </span>
        <span className="chat-name truncate">
          {name} <small>{configId}</small>
        </span>
        <time dateTime={lastActivityAt}>{shortTime(lastActivityAt)}</time>
        <span className="chat-last truncate" dir="auto">
          {lastMessage && preview(lastMessage, me, members.length > 2)}
        </span>
        {unreadCount > 0 && (
          <span className={muted ? 'badge muted' : 'badge'}>
            {unreadCount > 999 ? '999+' : unreadCount}
            <span className="hidden"> unread</span>
          </span>
        )}
        {unreadCount === 0 && status !== 'OPEN' && <span className="state">{status.toLowerCase()}</span>}
      </a>
    </li>
  );
}

function DraftRow({ draft, me, open }: { draft: Outgoing; me: string; open: boolean }) {
  const { key } = draft.to;
  if (!key) return null;
  const name = draft.subject || nameList(key.members.filter((member) => member.toLowerCase() !== me));
  return (
    <li>
      <a href={hashOf({ ref: { key } })} className="chat" aria-current={open ? 'page' : undefined}>
        <span className="avatar" aria-hidden="true">
          {initials(name)}
        </span>
        <span className="chat-name truncate">
          {name} <small>{key.configId}</small>
        </span>
        <time>{shortTime(draft.at)}</time>
        <span className="chat-last truncate">
          {draft.state === 'failed' ? 'Not sent: ' : 'Sending: '}
          {draft.text}
        </span>
      </a>
    </li>
  );
}

/** The first message on its way to each conversation that is not open yet. */
function firstMessages(outgoing: readonly Outgoing[]): Outgoing[] {
  const lanes = new Map<string, Outgoing>();
  for (const item of outgoing) if (item.to.key && !lanes.has(laneOf(item.to))) lanes.set(laneOf(item.to), item);
  return [...lanes.values()];
}

function preview(message: NonNullable<Conversation['lastMessage']>, me: string, many: boolean): string {
  if (message.redactedAt !== null) return 'Message removed';
  // The row shows one line: no need to lay out ten thousand characters.
  const text = message.text.slice(0, 200);
  if (message.kind === 'SYSTEM') return text;
  if (message.sender === me) return `You: ${text}`;
  return many ? `${shortName(message.sender)}: ${text}` : text;
}

const initials = (name: string) =>
  [...(name.match(/[\p{L}\p{N}]+/gu) ?? ['?'])]
    .slice(0, 2)
    .map((word) => [...word][0]?.toUpperCase())
    .join('');

/** Arrow keys, Home and End go through the list. */
function moveFocus(event: KeyboardEvent<HTMLUListElement>): void {
  const links = [...event.currentTarget.querySelectorAll<HTMLAnchorElement>('a')];
  const at = links.indexOf(document.activeElement as HTMLAnchorElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (to === undefined || !links[to]) return;
  event.preventDefault();
  links[to].focus();
}
