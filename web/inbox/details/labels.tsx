import { type FormEvent, useState } from 'react';
import type { ConversationView } from '../../client/index.ts';
import { Isolate, isolate } from '../shared/bidi.tsx';
import { CloseIcon } from '../shared/icons.tsx';

interface LabelsProps {
  readonly labels: readonly string[];
  /** Whether the labels cannot be changed now. */
  readonly readOnly: boolean;
  change(changes: Parameters<ConversationView['update']>[0]): Promise<boolean>;
}

/** The labels of a conversation. */
export function Labels({ labels, readOnly, change }: LabelsProps) {
  const [text, setText] = useState('');

  async function add(event: FormEvent) {
    event.preventDefault();
    if (text.trim() !== '' && (await change({ addLabels: [text.trim()] }))) setText('');
  }

  return (
    <section aria-labelledby="labels-title">
      <h3 id="labels-title">Labels</h3>
      {labels.length > 0 && (
        <ul className="labels">
          {labels.map((label) => (
            <li key={label} className="label">
              <Isolate text={label} />
              {!readOnly && (
                <button
                  type="button"
                  aria-label={`Remove the label ${isolate(label)}`}
                  onClick={() => void change({ removeLabels: [label] })}
                >
                  <CloseIcon />
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
      {labels.length === 0 && readOnly && <p className="hint">None.</p>}
      {!readOnly && labels.length < 20 && (
        <form className="add" onSubmit={add}>
          <input
            aria-label="New label"
            placeholder="New label"
            maxLength={40}
            autoComplete="off"
            value={text}
            onChange={({ target }) => setText(target.value)}
          />
          <button type="submit">Add label</button>
        </form>
      )}
    </section>
  );
}
