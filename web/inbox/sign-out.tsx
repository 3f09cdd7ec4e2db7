import { useEffect, useRef, useState } from 'react';
import type { Outbox } from '../client/index.ts';
import { countUnsent } from './session.ts';
import { CloseIcon, LeaveIcon } from './shared/icons.tsx';
import { useReadable } from './shared/use-readable.ts';

interface SignOutProps {
  readonly outbox: Outbox;
  onSignOut(): void;
}

/** Signs out. Asks for confirmation if that discards unsent messages. */
export function SignOut({ outbox, onSignOut }: SignOutProps) {
  const unsent = countUnsent(useReadable(outbox));
  const [asking, setAsking] = useState(false);
  return (
    <>
      <button
        type="button"
        className="icon-button"
        title="Sign out"
        onClick={() => (countUnsent(outbox.get()) > 0 ? setAsking(true) : onSignOut())}
      >
        <LeaveIcon />
        <span className="hidden">Sign out</span>
      </button>
      {asking && <SignOutDialog unsent={unsent} onSignOut={onSignOut} onClose={() => setAsking(false)} />}
    </>
  );
}

interface SignOutDialogProps {
  readonly unsent: number;
  onSignOut(): void;
  onClose(): void;
}

function SignOutDialog({ unsent, onSignOut, onClose }: SignOutDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} className="card" aria-labelledby="sign-out-title" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onSignOut();
        }}
      >
        <header>
          <h2 id="sign-out-title">Sign out</h2>
          <button type="button" className="icon-button" aria-label="Close" onClick={() => dialog.current?.close()}>
            <CloseIcon />
          </button>
        </header>
        <p>
          {unsent === 0
            ? 'All messages have been sent.'
            : unsent === 1
              ? 'One message was not sent. Signing out discards it.'
              : `${unsent} messages were not sent. Signing out discards them.`}
        </p>
        <button type="submit" className={unsent === 0 ? 'primary' : 'primary destructive'}>
          {unsent === 0 ? 'Sign out' : 'Discard and sign out'}
        </button>
      </form>
    </dialog>
  );
}
