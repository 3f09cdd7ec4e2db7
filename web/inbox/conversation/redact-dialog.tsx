import { type FormEvent, useEffect, useRef } from 'react';
import type { ConversationView, MessageFieldsFragment } from '../../client/index.ts';
import { CloseIcon } from '../shared/icons.tsx';
import { Person } from '../shared/names.tsx';
import { useAction } from '../shared/use-action.ts';

interface RedactDialogProps {
  readonly view: ConversationView;
  readonly message: MessageFieldsFragment;
  readonly me: string;
  onClose(): void;
}

/** Asks for the reason of a redaction, and redacts the message. */
export function RedactDialog({ view, message, me, onClose }: RedactDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const reason = useRef<HTMLInputElement>(null);
  const { busy, error, attempt } = useAction();
  useEffect(() => {
    dialog.current?.showModal();
    reason.current?.focus();
  }, []);

  async function submit(event: FormEvent) {
    event.preventDefault();
    const why = reason.current?.value.trim() ?? '';
    if (await attempt(() => view.redact(message.seq, why))) dialog.current?.close();
  }

  return (
    <dialog ref={dialog} className="card" aria-labelledby="redact-title" onClose={onClose}>
      <form onSubmit={submit}>
        <header>
          <h2 id="redact-title">
            Redact{' '}
            {message.sender === me ? (
              'your'
            ) : (
              <>
                <Person email={message.sender} />
                ’s
              </>
            )}{' '}
            message
          </h2>
          <button type="button" className="icon-button" aria-label="Close" onClick={() => dialog.current?.close()}>
            <CloseIcon />
          </button>
        </header>
        <blockquote className="quote" dir="auto">
          {message.text.slice(0, 300)}
        </blockquote>
        <p className="hint">Its text is deleted for everybody, and cannot be brought back. That it was there stays.</p>
        <label>
          Reason
          <input ref={reason} name="reason" required maxLength={500} autoComplete="off" pattern=".*\S.*" />
        </label>
        {error !== null && (
          <p className="refusal" role="alert">
            {error}
          </p>
        )}
        <button type="submit" className="primary destructive" disabled={busy}>
          Redact
        </button>
      </form>
    </dialog>
  );
}
