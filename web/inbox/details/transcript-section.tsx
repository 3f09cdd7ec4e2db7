import { useEffect, useRef, useState } from 'react';
import type { Client, ConversationFieldsFragment } from '../../client/index.ts';
import { download } from './download.ts';
import { makeTranscript } from './transcript.ts';

interface TranscriptProps {
  readonly client: Client;
  readonly conversation: ConversationFieldsFragment;
}

/** Offers the transcript of a conversation as a file. */
export function Transcript({ client, conversation }: TranscriptProps) {
  /** Number of messages that are in it; null while none is made. */
  const [done, setDone] = useState<number | null>(null);
  const [outcome, setOutcome] = useState<{ readonly text: string; readonly failed?: true } | null>(null);
  const making = useRef<AbortController | null>(null);
  const total = Math.max(conversation.lastSeq, done ?? 0);
  useEffect(() => () => making.current?.abort(), []);

  async function make() {
    const run = new AbortController();
    making.current = run;
    setDone(0);
    setOutcome(null);
    try {
      const transcript = await makeTranscript(client, conversation, run.signal, setDone);
      download(`transcript-${conversation.id}.html`, transcript);
      setOutcome({ text: 'Downloaded.' });
    } catch (thrown) {
      if (run.signal.aborted) return;
      setOutcome({ text: thrown instanceof Error ? thrown.message : String(thrown), failed: true });
    }
    making.current = null;
    setDone(null);
  }

  function cancel() {
    making.current?.abort();
    making.current = null;
    setDone(null);
    setOutcome({ text: 'Cancelled.' });
  }

  return (
    <section aria-labelledby="transcript-title">
      <h3 id="transcript-title">Transcript</h3>
      <p className="hint">
        One file to keep or to print, with all messages that you may see and their proofs. See the{' '}
        <a href="./docs/RECORD.md">record</a>.
      </p>
      <div className="make">
        {/* One button for both, so that it keeps the focus; a double click cancels nothing. */}
        <button type="button" onClick={({ detail }) => detail < 2 && (done === null ? void make() : cancel())}>
          {done === null ? 'Download transcript' : 'Cancel'}
        </button>
        {done !== null && (
          <>
            <progress aria-label="Progress of the transcript" max={total} value={done} />
            <span className="about">
              {done} of {total}
            </span>
          </>
        )}
        <span role="status" className="about">
          {outcome && !outcome.failed && outcome.text}
        </span>
      </div>
      {outcome?.failed && (
        <p className="refusal" role="alert">
          The transcript could not be made: {outcome.text}
        </p>
      )}
    </section>
  );
}
