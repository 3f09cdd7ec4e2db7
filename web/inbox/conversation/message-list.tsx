import { useEffect, useRef, useState } from 'react';
import {
  type Client,
  type ConversationState,
  type ConversationView,
  type MessageFieldsFragment,
  readersOf,
  type Viewer,
} from '../../client/index.ts';
import { mayEdit, mayRedact } from '../details/rights.ts';
import { dayName, sameDay } from '../shared/format.ts';
import { DownIcon } from '../shared/icons.tsx';
import { Person } from '../shared/names.tsx';
import { useClock } from '../shared/use-clock.ts';
import { Message, OutgoingMessage } from './message.tsx';
import { useVirtualRows } from './use-virtual-rows.ts';

interface MessageListProps {
  readonly client: Client;
  readonly view: ConversationView;
  readonly state: ConversationState;
  readonly viewer: Viewer;
  /** The message that is looked for; another object each time it is. */
  readonly target: { readonly seq: number } | null;
  /** How often the viewer has sent something: each time the end is shown. */
  readonly sends: number;
  onEdit(message: MessageFieldsFragment): void;
  onRedact(message: MessageFieldsFragment): void;
}

/** Messages of one person within this time form a group, in milliseconds. */
const GROUP_MS = 5 * 60_000;

/** The part of the log around what is looked at; more is loaded as one scrolls. */
export function MessageList(props: MessageListProps) {
  const { client, view, state, viewer, target, sends, onEdit, onRedact } = props;
  useClock();
  const me = viewer.email;
  const { messages, outgoing, conversation, firstUnread, phase, error } = state;
  const { scroller, shown, atEnd, toEnd, toSeq, onScroll } = useVirtualRows(view, state, me, target?.seq ?? null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: each send goes to the end once
  useEffect(() => {
    if (sends > 0) toEnd();
  }, [sends]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: gone to once each time it is looked for
  useEffect(() => {
    let present = true;
    if (target) void view.jumpTo(target.seq).then(() => present && toSeq(target.seq));
    return () => {
      present = false;
    };
  }, [target]);

  const offset = messages[0]?.seq ?? 1;
  const rows = messages.slice(shown.from - offset, shown.to - offset + 1);
  return (
    <div className="messages-place">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard has to get there */}
      <section ref={scroller} className="messages" aria-label="Messages" tabIndex={0} onScroll={onScroll}>
        {phase === 'new' && outgoing.length === 0 && (
          <p className="system-note">
            Nothing has been said yet. The first message opens the conversation for everybody.
          </p>
        )}
        {error && <p className="system-note">More could not be loaded: {error.message}</p>}
        <ol>
          {rows.map((message, i) => {
            const before = rows[i - 1] ?? messages[shown.from - offset - 1];
            const day = before && sameDay(before.sentAt, message.sentAt) ? null : dayName(message.sentAt);
            const fresh = message.seq === firstUnread;
            const follows =
              before?.sender === message.sender &&
              before.kind === message.kind &&
              day === null &&
              !fresh &&
              Date.parse(message.sentAt) - Date.parse(before.sentAt) < GROUP_MS;
            return (
              <Message
                key={message.seq}
                message={message}
                view={view}
                readers={message.sender === me && conversation ? readersOf(conversation, message).join(' ') : null}
                follows={follows}
                day={day}
                fresh={fresh}
                found={message.seq === target?.seq}
                mayEdit={conversation !== null && mayEdit(viewer, conversation, message)}
                mayRedact={mayRedact(viewer, message)}
                onEdit={onEdit}
                onRedact={onRedact}
              />
            );
          })}
          {shown.reachesEnd &&
            outgoing.map((item) => <OutgoingMessage key={item.clientId} item={item} outbox={client.outbox} />)}
        </ol>
        {!atEnd && (
          // Among the messages, so that one can scroll over it.
          <div className="to-end">
            <button type="button" className="icon-button" title="To the newest message" onClick={toEnd}>
              <DownIcon />
              <span className="hidden">To the newest message</span>
            </button>
          </div>
        )}
      </section>
      <Announcer state={state} me={me} />
    </div>
  );
}

/** Announced messages that stay in the log when more come: assistive technology may still be at them. */
const KEPT_ANNOUNCEMENTS = 20;

/** A log of the messages of others that arrive while the conversation is open, for assistive technology to read out. */
function Announcer({ state, me }: { readonly state: ConversationState; readonly me: string }) {
  const { messages, hasNewer, conversation } = state;
  const [announced, setAnnounced] = useState<readonly number[]>([]);
  const last = useRef(conversation?.lastSeq ?? 0);
  const offset = messages[0]?.seq ?? 0;

  useEffect(() => {
    // While an older part of the log is shown, messages arrive that are not there yet: they are announced later.
    const arrived = hasNewer ? [] : messages.filter(({ seq }) => seq > last.current);
    last.current = arrived.at(-1)?.seq ?? last.current;
    const others = arrived.filter(({ sender }) => sender !== me).map(({ seq }) => seq);
    setAnnounced((before) => {
      const present = before.filter((seq) => messages[seq - offset]);
      if (others.length > 0) return [...present.slice(-KEPT_ANNOUNCEMENTS), ...others];
      return present.length < before.length ? present : before;
    });
  }, [messages, offset, hasNewer, me]);

  return (
    <div className="hidden" role="log" aria-label="Incoming messages">
      {announced
        .map((seq) => messages[seq - offset])
        .filter((message) => message !== undefined)
        .map(({ seq, kind, sender, text, redactedAt }) => (
          <p key={seq}>
            <Person email={sender} />
            {kind === 'SYSTEM' && ' changed the conversation'}:{' '}
            <bdi>{redactedAt === null ? text.slice(0, 300) : 'Message removed'}</bdi>
          </p>
        ))}
    </div>
  );
}
