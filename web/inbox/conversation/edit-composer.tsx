import { useState } from 'react';
import type { ConversationView, KredichatError, MessageFieldsFragment as Message } from '../../client/index.ts';
import { isolate } from '../shared/bidi.tsx';
import { Composer } from './composer.tsx';

interface EditComposerProps {
  readonly view: ConversationView;
  /** The message in its present state. */
  readonly message: Message;
  onDone(): void;
}

/** Edits a message. An edit from another session in the meantime is shown before it is replaced. */
export function EditComposer({ view, message, onDone }: EditComposerProps) {
  const [original] = useState(message);
  const [error, setError] = useState<KredichatError | null>(null);
  const conflict = error?.code === 'CONFLICT';

  async function save(text: string) {
    // The state that the editor has seen: after a conflict the note below shows the present one.
    const seen = conflict ? message : original;
    if (text === seen.text) return onDone();
    try {
      await view.edit(seen, text);
      onDone();
    } catch (thrown) {
      setError(thrown as KredichatError);
    }
  }

  return (
    <Composer
      draftKey={null}
      initial={original.text}
      autoFocus
      note={
        <>
          <strong>Editing</strong>{' '}
          {error !== null && (
            <span role="alert">
              {conflict
                ? `It was changed meanwhile, to “${isolate(message.text.slice(0, 80))}”. Save again to replace that.`
                : error.message}
            </span>
          )}
        </>
      }
      onSend={save}
      onCancel={onDone}
    />
  );
}
