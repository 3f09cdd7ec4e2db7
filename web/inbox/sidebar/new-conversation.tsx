import { type FormEvent, useEffect, useRef } from 'react';
import type { Route } from '../route.ts';
import { AddressField, addressesIn } from '../shared/address-field.tsx';
import { CloseIcon } from '../shared/icons.tsx';

interface NewConversationProps {
  readonly me: string;
  onStart(route: Route): void;
  onClose(): void;
}

/** Asks for the key of a new conversation. It sends nothing: the first message opens the conversation. */
export function NewConversation({ me, onStart, onClose }: NewConversationProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
    first.current?.focus();
  }, []);

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const data = new FormData(event.currentTarget);
    const text = (name: string) => String(data.get(name) ?? '').trim();
    const members = addressesIn(event.currentTarget).filter((member) => member !== me);
    const field = event.currentTarget.elements.namedItem('members');
    if (members.length === 0 && field instanceof HTMLInputElement) {
      field.setCustomValidity('Name at least one other person.');
      return field.reportValidity();
    }
    const [subject, party] = [text('subject'), text('party')];
    onStart({
      ref: { key: { configId: text('configId'), members: [me, ...members] } },
      ...(subject && { subject }),
      ...(party && { party }),
    });
  }

  return (
    <dialog ref={dialog} className="card" aria-labelledby="new-title" onClose={onClose}>
      <form onSubmit={submit}>
        <header>
          <h2 id="new-title">New conversation</h2>
          <button type="button" className="icon-button" aria-label="Close" onClick={() => dialog.current?.close()}>
            <CloseIcon />
          </button>
        </header>
        <label>
          Document configuration
          <input
            ref={first}
            name="configId"
            required
            maxLength={128}
            placeholder="invoice-programme-1"
            autoComplete="off"
          />
        </label>
        <label htmlFor="members">
          Members
          <AddressField id="members" placeholder="bob@example.com, cy@example.com" />
        </label>
        <label>
          Subject <span className="hint">optional</span>
          <input name="subject" maxLength={200} autoComplete="off" />
        </label>
        <label>
          Party <span className="hint">optional</span>
          <input name="party" maxLength={64} autoComplete="off" />
        </label>
        <p className="hint">One configuration and one set of members is one conversation: if it exists, it opens.</p>
        <button type="submit" className="primary">
          Continue
        </button>
      </form>
    </dialog>
  );
}
