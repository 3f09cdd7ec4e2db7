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
  /** The message to show; a new object for each request. */
  readonly target: { readonly seq: number } | null;
  /** Number of messages sent here; the list moves to its end each time. */
  readonly sends: number;
  onEdit(message: MessageFieldsFragment): void;
  onDetails(message: MessageFieldsFragment): void;
  onRedact(message: MessageFieldsFragment): void;
}

/** Messages of one sender within this time (ms) form a group. */
const GROUP_MS = 5 * 60_000;

/** The part of the log around the viewport. Scrolling loads more. */
export function MessageList(props: MessageListProps) {
  const { client, view, state, viewer, target, sends, onEdit, onDetails, onRedact } = props;
  useClock();
  const me = viewer.email;
  const { messages, outgoing, conversation, firstUnread, phase, error } = state;
  const { scroller, shown, atEnd, toEnd, toSeq, onScroll } = useVirtualRows(view, state, me, target?.seq ?? null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: moves to the end once for each send
  useEffect(() => {
    if (sends > 0) toEnd();
  }, [sends]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: moves to the target once for each request
  useEffect(() => {
    let active = true;
    if (target) void view.jumpTo(target.seq).then(() => active && toSeq(target.seq));
    return () => {
      active = false;
    };
  }, [target]);

  const offset = messages[0]?.seq ?? 1;
  const rows = messages.slice(shown.from - offset, shown.to - offset + 1);
  return (
    <div className="messages-place">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable element must be reachable by keyboard */}
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
                onDetails={onDetails}
                onRedact={onRedact}
              />
            );
          })}
          {shown.reachesEnd &&
            outgoing.map((item) => <OutgoingMessage key={item.clientId} item={item} outbox={client.outbox} />)}
        </ol>
        {!atEnd && (
          // Inside the scroller, so that scrolling works over the button.
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

/** Number of announced messages that stay when more arrive: assistive technology may still be reading them. */
const KEPT_ANNOUNCEMENTS = 20;

/** Announces messages of other members that arrive while the conversation is open, to assistive technology. */
function Announcer({ state, me }: { readonly state: ConversationState; readonly me: string }) {
  const { messages, hasNewer, conversation } = state;
  const [announced, setAnnounced] = useState<readonly number[]>([]);
  const last = useRef(conversation?.lastSeq ?? 0);
  const offset = messages[0]?.seq ?? 0;

  useEffect(() => {
    // While an older part of the log is shown, new messages are not loaded; they are announced later.
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
