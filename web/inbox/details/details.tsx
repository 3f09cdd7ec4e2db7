import { useEffect, useRef } from 'react';
import type {
  Client,
  ConversationFieldsFragment,
  ConversationStatus,
  ConversationView,
  Viewer,
} from '../../client/index.ts';
import { IsolatedList } from '../shared/bidi.tsx';
import { statusName } from '../shared/format.ts';
import { CloseIcon } from '../shared/icons.tsx';
import { useNames } from '../shared/names.tsx';
import { useAction } from '../shared/use-action.ts';
import { Labels } from './labels.tsx';
import { Members } from './members.tsx';
import { mayClose } from './rights.ts';
import { Transcript } from './transcript-section.tsx';

const STATUSES: readonly ConversationStatus[] = ['OPEN', 'PENDING', 'RESOLVED', 'CLOSED'];

interface DetailsProps {
  readonly client: Client;
  readonly view: ConversationView;
  readonly conversation: ConversationFieldsFragment;
  readonly viewer: Viewer;
  onClose(): void;
}

/** Shows status, assignee, labels and members of a conversation, which it changes for all, and its transcript. */
export function Details({ client, view, conversation, viewer, onClose }: DetailsProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const action = useAction();
  const nameOf = useNames();
  const { status, assignee, members, configId, subject, party } = conversation;
  const closed = status === 'CLOSED';
  const canClose = mayClose(viewer, conversation);
  const present = members.filter(({ leftAt }) => leftAt === null);
  const change = (changes: Parameters<ConversationView['update']>[0]) => action.attempt(() => view.update(changes));
  useEffect(() => {
    dialog.current?.showModal();
  }, []);

  return (
    <dialog ref={dialog} className="card details" aria-labelledby="details-title" onClose={onClose}>
      <header>
        <h2 id="details-title">About this conversation</h2>
        <button type="button" className="icon-button" aria-label="Close" onClick={() => dialog.current?.close()}>
          <CloseIcon />
        </button>
      </header>
      <p className="hint">
        <IsolatedList texts={[subject, configId, party]} />
      </p>
      {action.error !== null && (
        <p className="refusal" role="alert">
          {action.error}
        </p>
      )}
      <div className="pair">
        <label>
          Status
          <select
            value={status}
            disabled={closed && !canClose}
            onChange={({ target }) => void change({ status: target.value as ConversationStatus })}
          >
            {STATUSES.filter((one) => one !== 'CLOSED' || canClose || closed).map((one) => (
              <option key={one} value={one}>
                {statusName(one)}
              </option>
            ))}
          </select>
        </label>
        <label>
          Assignee
          <select
            value={assignee ?? ''}
            disabled={closed}
            onChange={({ target }) => void change({ assignee: target.value || null })}
          >
            <option value="">Nobody</option>
            {present.map(({ email }) => (
              <option key={email} value={email} title={email}>
                {email === viewer.email ? `${nameOf(email)} (you)` : nameOf(email)}
              </option>
            ))}
          </select>
        </label>
      </div>
      {closed && (
        <p className="hint">
          {canClose ? 'Closed: give it another status to reopen it.' : 'Closed: only a bank member can reopen it.'}
        </p>
      )}
      <Labels labels={conversation.labels} readOnly={closed} change={change} />
      <Members conversation={conversation} viewer={viewer} readOnly={closed} change={change} />
      <Transcript client={client} conversation={conversation} />
    </dialog>
  );
}
