import { type RefObject, useEffect, useRef, useState } from 'react';
import type { Client, ConversationState, ConversationView } from '../client/index.ts';
import { Composer } from './composer.tsx';
import { nameList, others, shortName, title } from './format.ts';
import { BackIcon, PeopleIcon } from './icons.tsx';
import { MessageList } from './message-list.tsx';
import { hashOf, type Route } from './route.ts';
import { useReadable, useView } from './use-readable.ts';

interface PaneProps {
  readonly client: Client;
  readonly route: Route;
  readonly me: string;
  /** The first message opened it: this is its id. */
  onOpened(id: string): void;
}

/** One conversation: who is in it, what was said, and where to write. */
export function ConversationPane(props: PaneProps) {
  // As it was called when it was opened: the pane is another when it shows another one.
  const [opened] = useState(props.route);
  const view = useView(() => props.client.conversation(opened.ref));
  return view && <Opened {...props} route={opened} view={view} />;
}

function Opened({ client, view, route, me, onOpened }: PaneProps & { readonly view: ConversationView }) {
  const state = useReadable(view);
  const [sends, setSends] = useState(0);
  const id = state.conversation?.id;
  // biome-ignore lint/correctness/useExhaustiveDependencies: told once, when it has an id
  useEffect(() => {
    if (id !== undefined && route.ref.id === undefined) onOpened(id);
  }, [id]);

  // Where a keyboard is likely one writes at once; elsewhere the focus goes to what has opened.
  const hovers = matchMedia('(hover: hover)').matches;
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!hovers) heading.current?.focus();
  }, [hovers]);

  const closed = state.phase === 'gone' || state.conversation?.status === 'CLOSED';
  return (
    <>
      <Head state={state} route={route} me={me} heading={heading} />
      {state.phase === 'gone' ? (
        <div className="nothing">
          <h2>There is no such conversation</h2>
          <p>It does not exist, or you are not one of its members.</p>
        </div>
      ) : state.phase === 'loading' ? (
        <div className="nothing">{state.error ? state.error.message : 'Loading …'}</div>
      ) : (
        <MessageList client={client} view={view} state={state} me={me} sends={sends} />
      )}
      {closed ? (
        state.phase !== 'gone' && <p className="closed-note">This conversation is closed.</p>
      ) : (
        <Composer
          draftKey={`kredichat:draft:${me}:${hashOf(route)}`}
          autoFocus={hovers}
          onSend={(text) => {
            const { subject, party } = route;
            view.send(text, { subject: subject ?? null, party: party ?? null });
            setSends((count) => count + 1);
          }}
        />
      )}
    </>
  );
}

interface HeadProps {
  readonly state: ConversationState;
  readonly route: Route;
  readonly me: string;
  readonly heading: RefObject<HTMLHeadingElement | null>;
}

function Head({ state, route, me, heading }: HeadProps) {
  const { conversation } = state;
  const key = route.ref.key;
  const people = conversation ? others(conversation, me) : (key?.members.filter((member) => member !== me) ?? []);
  const name = conversation ? title(conversation, me) : route.subject || nameList(people);
  const about = [conversation?.configId ?? key?.configId, conversation?.party ?? route.party].filter(Boolean);
  return (
    <header className="pane-head">
      <a href="#/" className="icon-button back" aria-label="Back to the list">
        <BackIcon />
      </a>
      <div className="grow">
        <h2 ref={heading} className="truncate" tabIndex={-1}>
          {name}
        </h2>
        <p className="truncate about">
          {about.join(' · ')}
          {people.length > 0 && ` · ${nameList(people)}`}
        </p>
      </div>
      {conversation && <People state={state} me={me} />}
    </header>
  );
}

/** Who is in it, and how far they have read. */
function People({ state, me }: { state: ConversationState; me: string }) {
  const details = useRef<HTMLDetailsElement>(null);
  const { conversation, messages } = state;
  const { members = [], lastSeq = 0 } = conversation ?? {};
  const newest = Math.max(lastSeq, messages.at(-1)?.seq ?? 0);
  const present = members.filter(({ leftAt }) => leftAt === null);
  return (
    <details
      ref={details}
      className="people"
      onBlur={({ relatedTarget }) => {
        if (!details.current?.contains(relatedTarget)) details.current?.removeAttribute('open');
      }}
      onKeyDown={({ key }) => key === 'Escape' && details.current?.removeAttribute('open')}
    >
      <summary className="icon-button wide" title="Members">
        <PeopleIcon />
        <span aria-hidden="true">{present.length}</span>
        <span className="hidden">{present.length} members</span>
      </summary>
      <ul className="card">
        {present.map(({ email, role, readSeq }) => (
          <li key={email}>
            <strong title={email}>{shortName(email)}</strong>
            {role && <span className="state">{role.toLowerCase()}</span>}
            <span className="about">
              {email === me ? 'you' : readSeq >= newest ? 'has read everything' : behind(newest - readSeq)}
            </span>
          </li>
        ))}
      </ul>
    </details>
  );
}

const behind = (count: number) => (count === 1 ? 'has one message to read' : `has ${count} messages to read`);
