import { useState } from 'react';
import type { ConversationView, KredichatError, MessageFieldsFragment as Message } from '../client/index.ts';
import { Composer } from './composer.tsx';

interface EditComposerProps {
  readonly view: ConversationView;
  /** As it is now. */
  readonly message: Message;
  onDone(): void;
}

/** Gives a message another text. Somebody else's edit that came meanwhile is shown before it is replaced. */
export function EditComposer({ view, message, onDone }: EditComposerProps) {
  /** What the person who edits has seen. */
  const [seen, setSeen] = useState(message);
  const [error, setError] = useState<string | null>(null);

  async function save(text: string) {
    if (text === seen.text) return onDone();
    try {
      await view.edit(seen, text);
      onDone();
    } catch (thrown) {
      const { code, message: why } = thrown as KredichatError;
      if (code !== 'CONFLICT') return setError(why);
      setSeen(message);
      setError(`It was changed meanwhile, to “${message.text.slice(0, 80)}”. Save again to replace that.`);
    }
  }

  return (
    <Composer
      draftKey={null}
      initial={message.text}
      autoFocus
      note={
        <>
          <strong>Editing</strong> {error !== null && <span role="alert">{error}</span>}
        </>
      }
      onSend={save}
      onCancel={onDone}
    />
  );
}
