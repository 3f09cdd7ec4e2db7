import type { ConversationFieldsFragment, ConversationView, Viewer } from '../../client/index.ts';
import { mayClose } from '../details/rights.ts';
import { useAction } from '../shared/use-action.ts';

interface ClosedNoteProps {
  readonly view: ConversationView;
  readonly conversation: ConversationFieldsFragment;
  readonly viewer: Viewer;
}

/** Explains that the conversation is closed, and offers to reopen it. */
export function ClosedNote({ view, conversation, viewer }: ClosedNoteProps) {
  const { busy, error, attempt } = useAction();
  return (
    <div className="closed-note">
      <p>
        This conversation is closed: it can be read, not written.
        {!mayClose(viewer, conversation) && ' A bank member can reopen it.'}
      </p>
      {mayClose(viewer, conversation) && (
        <button type="button" disabled={busy} onClick={() => void attempt(() => view.update({ status: 'OPEN' }))}>
          Reopen
        </button>
      )}
      {error !== null && <p role="alert">{error}</p>}
    </div>
  );
}
