import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import type { Client, ConversationView, MessageFieldsFragment, Viewer } from '../../client/index.ts';
import { queueKeyOf } from '../../client/index.ts';
import { Details } from '../details/details.tsx';
import { MessageDetails } from '../details/message-details.tsx';
import { mayEdit } from '../details/rights.ts';
import { type Route, replaceWith } from '../route.ts';
import { draftKey } from '../session.ts';
import { NamesProvider, namesAmong } from '../shared/names.tsx';
import { useReadable, useView } from '../shared/use-readable.ts';
import type { Search } from '../sidebar/search.tsx';
import { ClosedNote } from './closed-note.tsx';
import { Composer } from './composer.tsx';
import { EditComposer } from './edit-composer.tsx';
import { Head } from './head.tsx';
import { MessageList } from './message-list.tsx';
import { RedactDialog } from './redact-dialog.tsx';
import { TypingLine } from './typing-line.tsx';

interface PaneProps {
  readonly client: Client;
  readonly route: Route;
  readonly viewer: Viewer;
  /** The first message opened the conversation with this id. */
  onOpened(id: string): void;
  onSearch(within: Search['in']): void;
}

/** One conversation: head, messages and composer. */
export function ConversationPane(props: PaneProps) {
  // The initial route: the pane is mounted anew for another conversation.
  const [{ ref, at = null }] = useState(props.route);
  const view = useView(() => props.client.conversation(ref, { at }));
  return view && <Pane {...props} view={view} />;
}

function Pane({ client, view, route, viewer, onOpened, onSearch }: PaneProps & { readonly view: ConversationView }) {
  const state = useReadable(view);
  const [initial] = useState(route);
  const [sends, setSends] = useState(0);
  const [editing, setEditing] = useState<number | null>(null);
  const [redacting, setRedacting] = useState<MessageFieldsFragment | null>(null);
  const [details, setDetails] = useState(false);
  const [described, setDescribed] = useState<number | null>(null);
  const { phase, conversation, messages } = state;
  const id = conversation?.id;
  const me = viewer.email;
  const emails = (conversation?.members.map(({ email }) => email) ?? initial.ref.key?.members ?? []).join(' ');
  const nameOf = useMemo(() => namesAmong(emails.split(' ')), [emails]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: called once, when the conversation has an id
  useEffect(() => {
    if (id !== undefined && initial.ref.id === undefined) onOpened(id);
  }, [id]);

  const [target, setTarget] = useState(initial.at === undefined ? null : { seq: initial.at });
  useEffect(() => {
    if (route.at === undefined || route.ref.id === undefined) return;
    setTarget({ seq: route.at });
    // Clears the position, so that the same message can be requested again.
    replaceWith({ ref: route.ref });
  }, [route.at, route.ref]);

  // With a likely keyboard the composer takes the focus; elsewhere the heading does.
  const hasPointer = matchMedia('(hover: hover)').matches;
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!hasPointer) heading.current?.focus();
  }, [hasPointer]);

  const edit = useCallback((message: MessageFieldsFragment) => setEditing(message.seq), []);
  const describe = useCallback((message: MessageFieldsFragment) => setDescribed(message.seq), []);
  const edited = messages.find((message) => message.seq === editing);
  const shown = messages.find((message) => message.seq === described);
  const stopEditing = () => setEditing(null);

  // A viewer that is added again returns to the conversation, not to a dialog over it.
  useEffect(() => {
    if (phase !== 'gone') return;
    setDetails(false);
    setEditing(null);
    setRedacting(null);
    setDescribed(null);
  }, [phase]);

  function editLast() {
    const last = messages.findLast((message) => conversation && mayEdit(viewer, conversation, message));
    if (last) setEditing(last.seq);
  }

  if (phase === 'gone' || phase === 'loading') {
    return (
      <NamesProvider value={nameOf}>
        <Head {...{ view, state, route: initial, viewer, heading }} onDetails={() => {}} onSearch={() => {}} />
        {phase === 'loading' ? (
          <div className="nothing">{state.error ? state.error.message : 'Loading …'}</div>
        ) : (
          <Gone wasMember={conversation !== null} />
        )}
      </NamesProvider>
    );
  }
  return (
    <NamesProvider value={nameOf}>
      <Head
        {...{ view, state, route: initial, viewer, heading }}
        onDetails={() => setDetails(true)}
        onSearch={(name) => onSearch(id === undefined ? null : { id, name })}
      />
      <MessageList
        {...{ client, view, state, viewer, target, sends }}
        onEdit={edit}
        onDetails={describe}
        onRedact={setRedacting}
      />
      <TypingLine typists={view.typists} />
      {conversation?.status === 'CLOSED' ? (
        <ClosedNote view={view} conversation={conversation} viewer={viewer} />
      ) : edited && edited.redactedAt === null ? (
        <EditComposer key={edited.seq} view={view} message={edited} onDone={stopEditing} />
      ) : (
        <Composer
          draftKey={draftKey(me, id ?? queueKeyOf(initial.ref))}
          autoFocus={hasPointer}
          onType={view.typing}
          onUp={editLast}
          onSend={(text) => {
            const { subject, party } = initial;
            view.send(text, { subject: subject ?? null, party: party ?? null });
            setSends((count) => count + 1);
          }}
        />
      )}
      {redacting && <RedactDialog view={view} message={redacting} me={me} onClose={() => setRedacting(null)} />}
      {details && conversation && (
        <Details {...{ client, view, conversation, viewer }} onClose={() => setDetails(false)} />
      )}
      {shown && <MessageDetails key={shown.seq} view={view} message={shown} onClose={() => setDescribed(null)} />}
    </NamesProvider>
  );
}

function Gone({ wasMember }: { readonly wasMember: boolean }) {
  return (
    <div className="nothing" role="status">
      <h2>{wasMember ? 'You are not in this conversation any more' : 'There is no such conversation'}</h2>
      <p>
        {wasMember
          ? 'You left it, or were removed. A member can add you again.'
          : 'It does not exist, or you are not one of its members.'}
      </p>
      <a href="#/">Back to the list</a>
    </div>
  );
}
