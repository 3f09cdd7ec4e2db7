import { useEffect, useRef } from 'react';
import {
  type ChatListView,
  type ListedConversationFieldsFragment as Conversation,
  type Outbox,
  type Outgoing,
  queueKeyOf,
} from '../../client/index.ts';
import { hashOf, type Route } from '../route.ts';
import { Isolate, SystemText } from '../shared/bidi.tsx';
import { initials, nameList, others, shortTime, statusName, tint, title } from '../shared/format.ts';
import { MutedIcon, PinIcon } from '../shared/icons.tsx';
import { moveFocus } from '../shared/move-focus.ts';
import { Person, useNames } from '../shared/names.tsx';
import { useClock } from '../shared/use-clock.ts';
import { useReadable } from '../shared/use-readable.ts';

interface ChatListProps {
  readonly list: ChatListView;
  readonly outbox: Outbox;
  readonly me: string;
  readonly route: Route | null;
  /** Whether this is the list of archived conversations. */
  readonly archived: boolean;
  onStart(): void;
}

/** The viewer's conversations, below those with an unsent first message. */
export function ChatList({ list, outbox, me, route, archived, onStart }: ChatListProps) {
  useClock();
  const { conversations, loaded, hasMore, loadingMore, error } = useReadable(list);
  const waiting = firstMessages(useReadable(outbox));
  const unsent = archived ? [] : waiting;
  const open = route && queueKeyOf(route.ref);
  const end = useRef<HTMLLIElement>(null);

  // A new observer after each page checks again: on a high screen the end may still be visible.
  useEffect(() => {
    if (!end.current || !hasMore || loadingMore || error) return;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && void list.loadMore());
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [list, hasMore, loadingMore, error]);

  if (!loaded) return <p className="list-note">{error ? error.message : 'Loading …'}</p>;
  return (
    <>
      {archived && conversations.length === 0 && <p className="list-note">Nothing is archived.</p>}
      {!archived && conversations.length + unsent.length === 0 && (
        <div className="list-note">
          <p>No conversations yet. Name a document configuration and the people to talk to.</p>
          <button type="button" className="primary" onClick={onStart}>
            Start one
          </button>
        </div>
      )}
      <ul className="chats" onKeyDown={moveFocus}>
        {unsent.map((first) => (
          <UnsentRow key={first.clientId} first={first} me={me} open={queueKeyOf(first.to) === open} />
        ))}
        {conversations.map((conversation) => (
          <Row key={conversation.id} conversation={conversation} me={me} open={conversation.id === open} />
        ))}
        {hasMore && (
          <li ref={end} className="list-note" aria-hidden={!error}>
            {error && (
              <>
                <p role="alert">More conversations could not be loaded: {error.message}</p>
                <button type="button" onClick={list.loadMore}>
                  Try again
                </button>
              </>
            )}
          </li>
        )}
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
  const { id, configId, unreadCount, lastMessage, muted, pinned, lastActivityAt, status } = conversation;
  const name = title(conversation, me, useNames());
  return (
    <li>
      <a
        href={hashOf({ ref: { id } })}
        className={muted ? 'chat quiet' : 'chat'}
        aria-current={open ? 'page' : undefined}
      >
        <span className={`avatar tint-${tint(id)}`} aria-hidden="true">
          {initials(name)}
        </span>
        <span className="chat-name truncate" title={others(conversation.firstMembers, me).join(', ')}>
          <Isolate text={name} />{' '}
          <small>
            <Isolate text={configId} />
          </small>
        </span>
        <span className="chat-when">
          {pinned && <PinIcon />}
          {pinned && <span className="hidden">pinned</span>}
          {muted && <MutedIcon />}
          {muted && <span className="hidden">muted</span>}
          <time dateTime={lastActivityAt}>{shortTime(lastActivityAt)}</time>
        </span>
        <span className="chat-last truncate" dir="auto">
          {lastMessage && <Preview message={lastMessage} me={me} />}
        </span>
        {unreadCount > 0 && (
          <span className={muted ? 'badge muted' : 'badge'}>
            {unreadCount > 999 ? '999+' : unreadCount}
            <span className="hidden"> unread</span>
          </span>
        )}
        {unreadCount === 0 && status !== 'OPEN' && (
          <span className={`state ${status.toLowerCase()}`}>{statusName(status)}</span>
        )}
      </a>
    </li>
  );
}

/** A conversation that does not exist yet: its first message is in the outbox. */
function UnsentRow({ first, me, open }: { first: Outgoing; me: string; open: boolean }) {
  const nameOf = useNames();
  const { key } = first.to;
  if (!key) return null;
  const people = key.members.filter((member) => member.toLowerCase() !== me);
  const name = first.subject || nameList(people, nameOf);
  return (
    <li>
      <a href={hashOf({ ref: { key } })} className="chat" aria-current={open ? 'page' : undefined}>
        <span className="avatar" aria-hidden="true">
          {initials(name)}
        </span>
        <span className="chat-name truncate" title={people.join(', ')}>
          <Isolate text={name} />{' '}
          <small>
            <Isolate text={key.configId} />
          </small>
        </span>
        <time>{shortTime(first.at)}</time>
        <span className="chat-last truncate">
          {first.state === 'failed' ? 'Not sent: ' : 'Sending: '}
          <Isolate text={first.text.slice(0, PREVIEW)} />
        </span>
      </a>
    </li>
  );
}

/** The first outgoing message to each conversation that does not exist yet. */
function firstMessages(outgoing: readonly Outgoing[]): Outgoing[] {
  const byQueue = new Map<string, Outgoing>();
  for (const item of outgoing)
    if (item.to.key && !byQueue.has(queueKeyOf(item.to))) byQueue.set(queueKeyOf(item.to), item);
  return [...byQueue.values()];
}

/** Code units of a message in a row, which shows one line: avoids the layout of ten thousand characters. */
const PREVIEW = 200;

interface PreviewProps {
  readonly message: NonNullable<Conversation['lastMessage']>;
  readonly me: string;
}

/**
 * The sender, then the text or the change in different styles, so that no text can imitate a change or another sender.
 * Its direction is that of the text: `bdi` elements do not count for it.
 */
function Preview({ message: { kind, sender, text, redactedAt }, me }: PreviewProps) {
  if (redactedAt !== null) return <em>Message removed</em>;
  const name = sender === me ? <bdi>You</bdi> : <Person email={sender} />;
  const shown = text.slice(0, PREVIEW);
  if (kind !== 'SYSTEM') {
    return (
      <>
        {name}: {shown}
      </>
    );
  }
  return (
    <em>
      {name} · <SystemText text={shown} />
    </em>
  );
}
