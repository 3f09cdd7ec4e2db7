import { useEffect, useRef, useState } from 'react';
import type { ConversationView, MessageFieldsFragment } from '../../client/index.ts';
import { fullTime } from '../shared/format.ts';
import { CloseIcon } from '../shared/icons.tsx';
import { Person } from '../shared/names.tsx';
import { download } from './download.ts';
import { type ProvenEntry, readProof } from './proof.ts';

interface MessageDetailsProps {
  readonly view: ConversationView;
  readonly message: MessageFieldsFragment;
  onClose(): void;
}

/** Waiting time (ms) before a proof is asked for again: doubled each time, up to the longest. */
const [FIRST_WAIT_MS, LONGEST_WAIT_MS] = [1000, 30_000];

/** Says since when a message is in the record, and offers its proof as a file. */
export function MessageDetails({ view, message, onClose }: MessageDetailsProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const { proof, error } = useProof(view, message);
  const { conversationId, seq, sender, sentAt } = message;
  const entry = proof ? readProof(proof) : null;
  useEffect(() => {
    dialog.current?.showModal();
  }, []);

  return (
    <dialog ref={dialog} className="card details" aria-labelledby="message-title" onClose={onClose}>
      <header>
        <h2 id="message-title">About this message</h2>
        <button type="button" className="icon-button" aria-label="Close" onClick={() => dialog.current?.close()}>
          <CloseIcon />
        </button>
      </header>
      <p>
        No. {seq} of this conversation, by <Person email={sender} />, {fullTime(sentAt)}
      </p>
      <section aria-labelledby="record-title">
        <h3 id="record-title">Record</h3>
        <p role="status">
          <strong>{entry ? 'Registered, signed' : proof === undefined ? 'Loading …' : 'Not signed yet'}</strong>
          {entry && <span className="about sentence">{describe(entry)}</span>}
          {proof === null && (
            <span className="about sentence">
              A server that has a key signs its record every few seconds. This changes by itself then.
            </span>
          )}
        </p>
        {error !== null && (
          <p className="refusal" role="alert">
            The proof could not be loaded: {error}
          </p>
        )}
        {proof && (
          <>
            <p className="hint">
              The proof is of the newest change of the message. It shows the text, and can be checked without this
              server: see the <a href="./docs/RECORD.md">record</a>.
            </p>
            <div className="make">
              <button
                type="button"
                onClick={() =>
                  download(`${conversationId}-${seq}.tlog-proof`, new Blob([proof], { type: 'text/plain' }))
                }
              >
                Download proof
              </button>
            </div>
          </>
        )}
      </section>
    </dialog>
  );
}

/** What the newest entry about a message says. */
function describe({ type, at }: ProvenEntry): string {
  if (type === 'IMPORTED') return 'Taken over from before; this server did not witness it.';
  return `${{ ADDED: 'Sent', EDITED: 'Edited', REDACTED: 'Redacted' }[type]} ${fullTime(at)}, as the record says.`;
}

/** The proof of a message; undefined while it is not known, null while there is none. */
function useProof(view: ConversationView, { seq, rev }: MessageFieldsFragment) {
  const [proof, setProof] = useState<string | null | undefined>(undefined);
  const [error, setError] = useState<string | null>(null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: asks again after another change of the message
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let active = true;
    function ask(wait: number): void {
      view.proof(seq).then(
        (found) => {
          if (!active) return;
          setProof(found);
          setError(null);
          if (found === null) timer = setTimeout(ask, wait, Math.min(2 * wait, LONGEST_WAIT_MS));
        },
        (thrown: Error) => active && setError(thrown.message),
      );
    }
    setProof(undefined);
    ask(FIRST_WAIT_MS);
    return () => {
      active = false;
      clearTimeout(timer);
    };
  }, [view, seq, rev]);

  return { proof, error };
}
