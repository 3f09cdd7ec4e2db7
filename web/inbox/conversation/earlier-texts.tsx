import { useEffect, useState } from 'react';
import type { ConversationView, MessageFieldsFragment, Revision } from '../../client/index.ts';
import { fullTime } from '../shared/format.ts';
import { LinkedText } from './linked-text.tsx';

/** The earlier texts of an edited message. */
export function EarlierTexts({ view, message }: { view: ConversationView; message: MessageFieldsFragment }) {
  const [revisions, setRevisions] = useState<readonly Revision[] | null>(null);
  const [error, setError] = useState<string | null>(null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: reloads after another edit
  useEffect(() => {
    let active = true;
    view.revisions(message).then(
      (found) => active && setRevisions(found),
      (thrown: Error) => active && setError(thrown.message),
    );
    return () => {
      active = false;
    };
  }, [message.rev]);

  if (error !== null) return <p className="earlier">Earlier texts could not be loaded: {error}</p>;
  if (!revisions) return <p className="earlier">Loading …</p>;
  return (
    <ol className="earlier" aria-label="Earlier texts">
      {revisions.map(({ text, at }) => (
        <li key={at + text}>
          <del dir="auto">
            <LinkedText text={text} />
          </del>{' '}
          <small>until {fullTime(at)}</small>
        </li>
      ))}
    </ol>
  );
}
