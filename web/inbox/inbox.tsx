import { useEffect, useMemo, useRef, useState } from 'react';
import type { Client, Viewer } from '../client/index.ts';
import { queueKeyOf } from '../client/index.ts';
import { Banner } from './banner.tsx';
import { ConversationPane } from './conversation/conversation.tsx';
import { Links } from './links.tsx';
import { goTo, replaceWith, useRoute } from './route.ts';
import { ArchiveIcon, PlusIcon } from './shared/icons.tsx';
import { NamesProvider, namesFor } from './shared/names.tsx';
import { useReadable, useView } from './shared/use-readable.ts';
import { ChatList } from './sidebar/chat-list.tsx';
import { NewConversation } from './sidebar/new-conversation.tsx';
import { type Search, SearchField, SearchResults } from './sidebar/search.tsx';
import { SignOut } from './sign-out.tsx';

interface InboxProps {
  readonly client: Client;
  onSignOut(): void;
}

/** The chat list and the open conversation, side by side, or one at a time on narrow screens. */
export function Inbox({ client, onSignOut }: InboxProps) {
  const [viewer, setViewer] = useState<Viewer | null>(null);
  const [search, setSearch] = useState<Search>({ text: '', in: null });
  const [archived, setArchived] = useState(false);
  const [starting, setStarting] = useState(false);
  const route = useRoute();
  const list = useView(() => client.chatList({ pageSize: 30 }));

  useEffect(() => {
    client.viewer().then(
      setViewer,
      // Refused: the page shows the sign-in form.
      () => {},
    );
  }, [client]);

  // The pane stays mounted when the first message opens its conversation, which changes the queue key.
  const pane = useRef({ name: '', id: '' });
  const name = route ? queueKeyOf(route.ref) : '';
  if (name !== pane.current.name && name !== pane.current.id) pane.current = { name, id: '' };

  const me = viewer?.email ?? null;
  const nameOf = useMemo(() => namesFor(me ?? ''), [me]);
  const isSearching = search.text.trim() !== '';
  return (
    <main className={route ? 'inbox open' : 'inbox'}>
      <Banner client={client} />
      <header className="sidebar-head">
        <h1 className="grow">{archived ? 'Archived' : 'Kredichat'}</h1>
        <button
          type="button"
          className="icon-button"
          title={archived ? 'Back to all conversations' : 'Archived conversations'}
          aria-pressed={archived}
          onClick={() => setArchived(!archived)}
        >
          <ArchiveIcon />
          <span className="hidden">Archived conversations</span>
        </button>
        <button type="button" className="icon-button" title="New conversation" onClick={() => setStarting(true)}>
          <PlusIcon />
          <span className="hidden">New conversation</span>
        </button>
        <SearchField search={search} onChange={setSearch} />
      </header>
      <nav className="sidebar" aria-label="Conversations">
        {list && <UnreadTotal list={list} />}
        {me !== null && (
          <NamesProvider value={nameOf}>
            {isSearching ? (
              <SearchResults client={client} search={search} me={me} />
            ) : archived ? (
              <Archive client={client} me={me} route={route} onStart={() => setStarting(true)} />
            ) : (
              list && (
                <ChatList {...{ list, me, route, archived }} outbox={client.outbox} onStart={() => setStarting(true)} />
              )
            )}
          </NamesProvider>
        )}
      </nav>
      <footer className="sidebar-foot">
        <div className="whoami">
          <span className="truncate" title={me ?? ''}>
            {me}
          </span>
          <SignOut outbox={client.outbox} onSignOut={onSignOut} />
        </div>
        <Links />
      </footer>
      <section className="pane" aria-label="Conversation">
        {route && viewer ? (
          <ConversationPane
            key={pane.current.name}
            client={client}
            route={route}
            viewer={viewer}
            onSearch={(within) => {
              setSearch({ text: '', in: within });
              if (!matchMedia('(width > 720px)').matches) goTo(null);
              requestAnimationFrame(() => document.getElementById('search')?.focus());
            }}
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

/** The list of archived conversations; open only while it is shown. */
function Archive(props: Omit<Parameters<typeof ChatList>[0], 'list' | 'outbox' | 'archived'> & { client: Client }) {
  const { client, ...others } = props;
  const list = useView(() => client.chatList({ pageSize: 30, archived: true }));
  return list && <ChatList {...others} list={list} outbox={client.outbox} archived />;
}

/** Shows the number of unread messages in the page title and to screen readers. */
function UnreadTotal({ list }: { readonly list: ReturnType<Client['chatList']> }) {
  const { unreadTotal, loaded } = useReadable(list);
  useEffect(() => {
    document.title = unreadTotal > 0 ? `(${unreadTotal}) Kredichat` : 'Kredichat';
  }, [unreadTotal]);
  return (
    <p className="hidden" role="status">
      {loaded && (unreadTotal === 0 ? 'No unread messages' : `${unreadTotal} unread messages`)}
    </p>
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
          : 'Name the document configuration it is about and the people to talk to. ' +
            'The first message opens it for everybody.'}
      </p>
      <button type="button" className="primary" onClick={onStart}>
        New conversation
      </button>
    </div>
  );
}
