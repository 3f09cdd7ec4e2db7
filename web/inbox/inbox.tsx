import { useEffect, useRef, useState } from 'react';
import type { Client } from '../client/index.ts';
import { laneOf } from '../client/index.ts';
import { Banner } from './banner.tsx';
import { ChatList } from './chat-list.tsx';
import { ConversationPane } from './conversation.tsx';
import { LeaveIcon, PlusIcon } from './icons.tsx';
import { Links } from './links.tsx';
import { NewConversation } from './new-conversation.tsx';
import { goTo, replaceWith, useRoute } from './route.ts';
import { useReadable, useView } from './use-readable.ts';

interface InboxProps {
  readonly client: Client;
  onSignOut(): void;
}

/** The chat list and the open conversation, side by side, or one at a time where there is no room. */
export function Inbox({ client, onSignOut }: InboxProps) {
  const [me, setMe] = useState<string | null>(null);
  const [starting, setStarting] = useState(false);
  const route = useRoute();
  const list = useView(() => client.chatList({ pageSize: 30 }));

  useEffect(() => {
    client.viewer().then(
      ({ email }) => setMe(email),
      // Refused: the page asks who it is again.
      () => {},
    );
  }, [client]);

  // The pane stays when what it shows is opened by its first message, and so gets another name.
  const pane = useRef({ name: '', id: '' });
  const name = route ? laneOf(route.ref) : '';
  if (name !== pane.current.name && name !== pane.current.id) pane.current = { name, id: '' };

  return (
    <main className={route ? 'inbox open' : 'inbox'}>
      <Banner client={client} />
      <header className="sidebar-head">
        <h1>Kredichat</h1>
        <button type="button" className="icon-button" title="New conversation" onClick={() => setStarting(true)}>
          <PlusIcon />
          <span className="hidden">New conversation</span>
        </button>
      </header>
      <nav className="sidebar" aria-label="Conversations">
        {list && me !== null && (
          <ChatList list={list} outbox={client.outbox} me={me} route={route} onStart={() => setStarting(true)} />
        )}
      </nav>
      <footer className="sidebar-foot">
        <div className="whoami">
          <span className="truncate" title={me ?? ''}>
            {me}
          </span>
          <button type="button" className="icon-button" title="Sign out" onClick={onSignOut}>
            <LeaveIcon />
            <span className="hidden">Sign out</span>
          </button>
        </div>
        <Links />
      </footer>
      <section className="pane" aria-label="Conversation">
        {route && me !== null ? (
          <ConversationPane
            key={pane.current.name}
            client={client}
            route={route}
            me={me}
            onOpened={(id) => {
              pane.current.id = id;
              replaceWith({ ref: { id } });
            }}
          />
        ) : (
          me !== null && list && <NothingOpen list={list} onStart={() => setStarting(true)} />
        )}
      </section>
      {starting && me !== null && (
        <NewConversation
          me={me}
          onClose={() => setStarting(false)}
          onStart={(started) => {
            setStarting(false);
            goTo(started);
          }}
        />
      )}
    </main>
  );
}

function NothingOpen({ list, onStart }: { list: ReturnType<Client['chatList']>; onStart(): void }) {
  const { conversations, loaded } = useReadable(list);
  if (!loaded) return null;
  return (
    <div className="nothing">
      <h2>{conversations.length > 0 ? 'Choose a conversation' : 'Start your first conversation'}</h2>
      <p>
        {conversations.length > 0
          ? 'Pick one from the list, or begin a new one.'
          : 'Name the document configuration it is about and the people to talk to. The first message opens it for everybody.'}
      </p>
      <button type="button" className="primary" onClick={onStart}>
        New conversation
      </button>
    </div>
  );
}
