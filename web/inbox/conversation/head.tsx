import type { RefObject } from 'react';
import type { ConversationState, ConversationView, Viewer } from '../../client/index.ts';
import { goTo, type Route } from '../route.ts';
import { Isolate, IsolatedList } from '../shared/bidi.tsx';
import { nameList, others, statusName, title } from '../shared/format.ts';
import { BackIcon, DotsIcon, MutedIcon, PeopleIcon, PinIcon } from '../shared/icons.tsx';
import { Menu } from '../shared/menu.tsx';
import { Person, useNames } from '../shared/names.tsx';
import { useAction } from '../shared/use-action.ts';

interface HeadProps {
  readonly view: ConversationView;
  readonly state: ConversationState;
  readonly route: Route;
  readonly viewer: Viewer;
  readonly heading: RefObject<HTMLHeadingElement | null>;
  onDetails(): void;
  onSearch(name: string): void;
}

/** The head of a conversation: name, members, status and menu. */
export function Head({ view, state, route, viewer, heading, onDetails, onSearch }: HeadProps) {
  const { attempt, error } = useAction();
  const nameOf = useNames();
  const conversation = state.phase === 'ready' ? state.conversation : null;
  const me = viewer.email;
  const key = route.ref.key;
  const people = conversation
    ? others(conversation.members, me)
    : (key?.members.filter((member) => member !== me) ?? []);
  const name = state.conversation ? title(state.conversation, me, nameOf) : route.subject || nameList(people, nameOf);
  const about = [
    ...[conversation?.configId ?? key?.configId, conversation?.party ?? route.party],
    nameList(people, nameOf),
  ];

  function menuOf({ muted, pinned, archived }: NonNullable<typeof conversation>) {
    const flip = (switches: Parameters<ConversationView['view']>[0]) => void attempt(() => view.view(switches));
    return [
      { label: 'Details and members', act: onDetails },
      { label: 'Search here', act: () => onSearch(name) },
      { label: pinned ? 'Unpin' : 'Pin', act: () => flip({ pinned: !pinned }) },
      { label: muted ? 'Unmute' : 'Mute', act: () => flip({ muted: !muted }) },
      archived
        ? { label: 'Move out of the archive', act: () => flip({ archived: false }) }
        : {
            label: 'Archive',
            act: async () => {
              if (await attempt(() => view.view({ archived: true }))) goTo(null);
            },
          },
    ];
  }

  return (
    <header className="pane-head">
      <a href="#/" className="icon-button back" aria-label="Back to the list">
        <BackIcon />
      </a>
      <div className="grow">
        <h2 ref={heading} className="truncate" tabIndex={-1}>
          <Isolate text={name} />
          {conversation?.pinned && <PinIcon />}
          {conversation?.muted && <MutedIcon />}
        </h2>
        <p className="truncate about" title={people.join(', ')}>
          <IsolatedList texts={about} />
        </p>
        {conversation && (
          <p className="about chips">
            {conversation.status !== 'OPEN' && (
              <span className={`state ${conversation.status.toLowerCase()}`}>{statusName(conversation.status)}</span>
            )}
            {conversation.assignee && (
              <span className="state">
                next: {conversation.assignee === me ? 'you' : <Person email={conversation.assignee} />}
              </span>
            )}
            {conversation.labels.map((label) => (
              <span key={label} className="label">
                <Isolate text={label} />
              </span>
            ))}
          </p>
        )}
        {error !== null && <p role="alert">{error}</p>}
      </div>
      {conversation && (
        <>
          <button type="button" className="icon-button wide" title="Details and members" onClick={onDetails}>
            <PeopleIcon />
            <span aria-hidden="true">{people.length + 1}</span>
            <span className="hidden">{people.length + 1} members: details</span>
          </button>
          <Menu label="Conversation menu" className="icon-button" items={menuOf(conversation)}>
            <DotsIcon />
          </Menu>
        </>
      )}
    </header>
  );
}
