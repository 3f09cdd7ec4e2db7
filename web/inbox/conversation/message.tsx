import { memo, useState } from 'react';
import type { ConversationView, MessageFieldsFragment, Outbox, Outgoing } from '../../client/index.ts';
import { SystemText } from '../shared/bidi.tsx';
import { clockTime, fullTime, nameList, tint } from '../shared/format.ts';
import { AlertIcon, ClockIcon } from '../shared/icons.tsx';
import { Menu } from '../shared/menu.tsx';
import { Person, useNames } from '../shared/names.tsx';
import { useClock } from '../shared/use-clock.ts';
import { EarlierTexts } from './earlier-texts.tsx';
import { LinkedText } from './linked-text.tsx';

interface MessageProps {
  readonly message: MessageFieldsFragment;
  readonly view: ConversationView;
  /** Readers of the viewer's message, separated by spaces; null for a message of another sender. */
  readonly readers: string | null;
  /** Whether the message continues the group of the one before. */
  readonly follows: boolean;
  /** The day, for its first message; else null. */
  readonly day: string | null;
  /** Whether this is the first unread message. */
  readonly fresh: boolean;
  /** Whether this is the requested message. */
  readonly found: boolean;
  readonly mayEdit: boolean;
  readonly mayRedact: boolean;
  onEdit(message: MessageFieldsFragment): void;
  onDetails(message: MessageFieldsFragment): void;
  onRedact(message: MessageFieldsFragment): void;
}

/** A message of the log. */
export const Message = memo((props: MessageProps) => {
  useClock();
  const { message, day, fresh, found, follows, readers } = props;
  const { seq, kind, sender, text } = message;
  const side = kind === 'SYSTEM' ? 'system' : readers !== null ? 'mine' : 'theirs';
  return (
    <li data-seq={seq} className={`${side}${follows ? ' follows' : ''}${found ? ' found' : ''}`}>
      {day !== null && <p className="day">{day}</p>}
      {fresh && <p className="fresh">New messages</p>}
      {kind === 'SYSTEM' ? (
        <p className="change" title={fullTime(message.sentAt)}>
          <Person email={sender} /> ·{' '}
          <span className="text">
            <SystemText text={text} />
          </span>
        </p>
      ) : (
        <Bubble {...props} />
      )}
    </li>
  );
});

/** The bubble of a member's message. */
function Bubble({ message, view, readers, follows, mayEdit, mayRedact, ...on }: MessageProps) {
  const [earlier, setEarlier] = useState(false);
  const { sender, sentAt, editedAt, redactedAt } = message;
  const mine = readers !== null;
  const edited = editedAt !== null && redactedAt === null;
  const items = [
    ...(mayEdit ? [{ label: 'Edit', act: () => on.onEdit(message) }] : []),
    { label: 'Details', act: () => on.onDetails(message) },
    ...(mayRedact ? [{ label: 'Redact …', danger: true, act: () => on.onRedact(message) }] : []),
  ];
  return (
    <div className={redactedAt === null ? 'bubble' : 'bubble redacted'}>
      {!mine && !follows && (
        <b className={`sender name-${tint(sender)}`}>
          <Person email={sender} />
        </b>
      )}
      {redactedAt === null ? (
        <MessageText {...message} />
      ) : (
        <em className="text" title={fullTime(redactedAt)}>
          Message removed
        </em>
      )}
      <span className="meta">
        {edited && (
          <button
            type="button"
            className="edited"
            aria-expanded={earlier}
            title={`Edited ${fullTime(editedAt)}`}
            onClick={() => setEarlier(!earlier)}
          >
            edited
          </button>
        )}
        <time dateTime={sentAt} title={fullTime(sentAt)}>
          {clockTime(sentAt)}
        </time>
        {mine && <Delivery readers={readers} />}
        <Menu label="Message menu" className="more" items={items} />
      </span>
      {edited && earlier && <EarlierTexts view={view} message={message} />}
    </div>
  );
}

/** The text of a message, stored or not. */
function MessageText({ text }: Pick<MessageFieldsFragment, 'text'>) {
  return (
    <span className="text" dir="auto">
      <LinkedText text={text} />
    </span>
  );
}

function Delivery({ readers }: { readonly readers: string }) {
  const nameOf = useNames();
  const emails = readers === '' ? [] : readers.split(' ');
  const label = emails.length === 0 ? 'Sent' : `Read by ${nameList(emails, nameOf)}`;
  return (
    // Drawn by CSS instead of SVG, since there are many of them.
    <span
      className={readers === '' ? 'delivery sent' : 'delivery sent read'}
      role="img"
      aria-label={label}
      title={emails.length === 0 ? label : `Read by ${emails.join(', ')}`}
    />
  );
}

/** A message of the viewer that is not stored yet. */
export function OutgoingMessage({ item, outbox }: { readonly item: Outgoing; readonly outbox: Outbox }) {
  const { at, state, failure, clientId } = item;
  const label = state === 'queued' ? 'Sending' : 'Not sent';
  return (
    <li className={`mine outgoing ${state}`}>
      <div className="bubble">
        <MessageText {...item} />
        <span className="meta">
          <time dateTime={new Date(at).toISOString()}>{clockTime(at)}</time>
          <span className="delivery" role="img" aria-label={label} title={label}>
            {state === 'queued' ? <ClockIcon /> : <AlertIcon />}
          </span>
        </span>
      </div>
      {failure && (
        <p className="failure" role="alert">
          Not sent: {failure.message}{' '}
          {failure.retry && (
            <button type="button" onClick={() => outbox.retry(clientId)}>
              Try again
            </button>
          )}
          <button type="button" onClick={() => outbox.discard(clientId)}>
            Discard
          </button>
        </p>
      )}
    </li>
  );
}
