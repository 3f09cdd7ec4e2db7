import { memo } from 'react';
import type { MessageFieldsFragment, Outbox, Outgoing } from '../client/index.ts';
import { clockTime, fullTime, nameList, shortName, tint } from './format.ts';
import { AlertIcon, CheckIcon, ChecksIcon, ClockIcon } from './icons.tsx';

interface MessageProps {
  readonly message: MessageFieldsFragment;
  /** Who else has read it, when it is the viewer's; null when it is not. */
  readonly readers: string | null;
  /** Part of a group: the same person, a moment later. */
  readonly follows: boolean;
  /** The day, when it is the first of it. */
  readonly day: string | null;
  /** The first unread one. */
  readonly fresh: boolean;
}

/** A message of the log. */
export const Message = memo(({ message, readers, follows, day, fresh }: MessageProps) => {
  const { seq, kind, sender, text, sentAt, editedAt, redactedAt } = message;
  const mine = readers !== null;
  return (
    <li
      data-seq={seq}
      className={`${kind === 'SYSTEM' ? 'system' : mine ? 'mine' : 'theirs'}${follows ? ' follows' : ''}`}
    >
      {day !== null && <p className="day">{day}</p>}
      {fresh && <p className="fresh">New messages</p>}
      <div className="bubble">
        {!mine && !follows && kind === 'TEXT' && <b className={`sender name-${tint(sender)}`}>{shortName(sender)}</b>}
        {redactedAt === null ? (
          <span className="text" dir="auto">
            {text}
          </span>
        ) : (
          <em className="text">Message removed</em>
        )}
        <span className="meta">
          {editedAt !== null && redactedAt === null && 'edited '}
          <time dateTime={sentAt} title={fullTime(sentAt)}>
            {clockTime(sentAt)}
          </time>
          {mine && kind === 'TEXT' && <Delivery readers={readers} />}
        </span>
      </div>
    </li>
  );
});

function Delivery({ readers }: { readonly readers: string }) {
  const label = readers === '' ? 'Sent' : `Read by ${nameList(readers.split(' '))}`;
  return (
    <span className={readers === '' ? 'delivery' : 'delivery read'} role="img" aria-label={label} title={label}>
      {readers === '' ? <CheckIcon /> : <ChecksIcon />}
    </span>
  );
}

/** A message of the viewer's that is not stored yet. */
export function OutgoingMessage({ item, outbox }: { readonly item: Outgoing; readonly outbox: Outbox }) {
  const { text, at, state, failure, clientId } = item;
  const label = state === 'queued' ? 'Sending' : 'Not sent';
  return (
    <li className={`mine outgoing ${state}`}>
      <div className="bubble">
        <span className="text" dir="auto">
          {text}
        </span>
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
