// The hostile load, in a process of its own: `attackers.ts URL SECONDS [ATTACK…]`. Ends by itself.
import { connect as connectTcp } from 'node:net';
import { setPriority } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { post } from './clients.ts';

const [url = '', seconds = '', ...only] = process.argv.slice(2);
const ws = url.replace('http', 'ws');
const MALLORY = 'mallory@example.com';
/** Before a socket that was closed is opened again, in milliseconds. */
const REOPEN_MS = 50;

// They attack the server, without taking the processor from other processes on the machine.
setPriority(19);

let stopped = false;
const open = new Set<{ destroy(): void }>();
let unique = 0;
const ids: string[] = [];

/** A socket that is opened again whenever it was closed, as long as the attack goes on. */
function socket(path: string, opened: (ws: WebSocket) => void): void {
  if (stopped) return;
  const ws_ = new WebSocket(`${ws}${path}`, path === '/graphql' ? ['graphql-transport-ws'] : []);
  const handle = { destroy: () => ws_.terminate() };
  open.add(handle);
  ws_.on('error', () => {});
  ws_.on('open', () => opened(ws_));
  ws_.on('close', async () => {
    open.delete(handle);
    await setTimeout(REOPEN_MS);
    socket(path, opened);
  });
}

/** A graphql-ws socket of the attacker's that always has so many operations under way. */
function operations(window: number, operation: () => { query: string; variables?: object }): void {
  socket('/graphql', (ws) => {
    let id = 0;
    const next = () => ws.send(JSON.stringify({ id: String(++id), type: 'subscribe', payload: operation() }));
    ws.on('message', (data) => {
      const { type } = JSON.parse(String(data));
      if (type === 'connection_ack') for (let i = 0; i < window; i++) next();
      if (type === 'complete' || type === 'error') next();
    });
    ws.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${MALLORY}` } }));
  });
}

/** A legacy socket that always has so many requests under way. */
function frames(window: number, frame: () => string): void {
  socket(`/conversation/ws?email_id=${MALLORY}`, (ws) => {
    for (let i = 0; i < window; i++) ws.send(frame());
    ws.on('message', () => ws.send(frame()));
  });
}

const PAGES = `query ($id: ID!) { conversation(by: { id: $id }) { messages(last: 100) { nodes { text readBy } } } }`;
const key = (i: number) => ({ configId: `hostile ${i}`, members: [MALLORY, `helper${i}@example.com`] });
const times = (count: number, start: () => void) => {
  for (let i = 0; i < count; i++) start();
};
const one = <T>(list: readonly T[]): T => list[unique++ % list.length] as T;

const ATTACKS: Readonly<Record<string, () => void>> = {
  'sockets that never authenticate': () => times(200, () => socket('/graphql', () => {})),

  'floods of subscriptions': () =>
    times(5, () =>
      socket('/graphql', (ws) => {
        let id = 0;
        const subscribe = () => {
          const live =
            ++id % 3 === 0
              ? 'subscription { chatListChanged { id } }'
              : 'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { text } }';
          ws.send(
            JSON.stringify({
              id: String(id),
              type: 'subscribe',
              payload: { query: live, variables: { id: one(ids), after: id % 2 ? null : 99 } },
            }),
          );
        };
        ws.on('message', (data) => {
          const { type, id: ended } = JSON.parse(String(data));
          if (type === 'connection_ack') for (let i = 0; i < 150; i++) subscribe();
          // One that is refused, or has brought something, makes room for another.
          if (type === 'next') ws.send(JSON.stringify({ id: ended, type: 'complete' }));
          if (type === 'next' || type === 'error') subscribe();
        });
        ws.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${MALLORY}` } }));
      }),
    ),

  'large frames': () => {
    const filler = 'x'.repeat(64_000);
    times(2, () => operations(4, () => ({ query: `{ viewer { email } } # ${unique++} ${filler}` })));
    times(2, () => operations(4, () => ({ query: '{ viewer { email } }', variables: { filler } })));
    const wrong = [`[${'0,'.repeat(30_000)}0]`, `["${'a@b.cd","'.repeat(7000)}"]`, `"${filler}"`, '['.repeat(64_000)];
    times(4, () => frames(4, () => `{"type":"RECEIVE","config_id":"x","members":${one(wrong)}}`));
  },

  'deep and aliased queries': () => {
    const texts = [
      `{ chatList { nodes { lastMessage { ${'replyTo { '.repeat(60)} id ${'}'.repeat(60)} } } } }`,
      `{ ${Array.from({ length: 200 }, (_, i) => `a${i}: viewer { email }`).join(' ')} }`,
      `{ viewer { ${'email '.repeat(990)} } }`,
      `{ ${'viewer { email } '.repeat(245)} }`,
      `{ viewer { ${Array.from({ length: 900 }, (_, i) => `emai${i}`).join(' ')} } }`,
      `{ viewer { ...F0 } } ` +
        `${Array.from({ length: 50 }, (_, i) => `fragment F${i} on Viewer { ...F${i + 1} ...F${i + 1} }`).join(' ')} ` +
        `fragment F50 on Viewer { email }`,
    ];
    times(4, () => operations(4, () => ({ query: `${one(texts)} # ${unique++}` })));
  },

  'expensive queries that are allowed': () =>
    times(3, () =>
      operations(2, () => ({
        query:
          `{ chatList(first: ${30 + (unique++ % 3)}) { ` +
          `nodes { members { email } unreadCount ` +
          `messages(last: 100) { nodes { id text readBy clientId sentAt } } } } }`,
      })),
    ),

  'readers that never read': () =>
    times(10, () =>
      socket('/graphql', (ws) => {
        ws.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${MALLORY}` } }));
        ws.once('message', () => {
          ws.pause();
          const id = ids[0];
          for (let i = 0; i < 50; i++) {
            const live = 'subscription ($id: ID!) { messageAdded(conversationId: $id, afterSeq: 0) { text } }';
            ws.send(
              JSON.stringify({
                id: String(i),
                type: 'subscribe',
                payload: { query: i % 2 ? PAGES : live, variables: { id } },
              }),
            );
          }
        });
      }),
    ),

  'bodies that trickle': () => {
    const trickle = () => {
      if (stopped) return;
      const tcp = connectTcp(Number(new URL(url).port), '127.0.0.1');
      open.add(tcp);
      tcp.on('error', () => {}).on('data', () => {});
      tcp.write(
        'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{',
      );
      const timer = setInterval(() => tcp.write(' '), 200);
      tcp.on('close', async () => {
        clearInterval(timer);
        open.delete(tcp);
        await setTimeout(REOPEN_MS);
        trickle();
      });
    };
    times(50, trickle);
  },

  'floods of RECEIVE': () => {
    times(5, () =>
      frames(64, () =>
        JSON.stringify({
          type: 'RECEIVE',
          config_id: one([0, 1, 2, 3].map((i) => `hostile ${i}`)),
          members: [`helper${unique % 4}@example.com`],
          page: 1 + (unique % 5),
        }),
      ),
    );
    times(2, () => frames(64, () => '{"type":"CHAT_LIST"}'));
  },
};

/** Conversations with messages in them; sent by several helpers, because of the limit on each sender. */
async function prepare(): Promise<void> {
  const send = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { id } } }';
  const find = 'query ($key: ConversationKey!) { conversation(by: { key: $key }) { id } }';
  for (let i = 0; i < 32; i++) {
    // The first is large; a message of an earlier attack exists already, or is refused.
    const [length, text] = i === 0 ? [20, 'x'.repeat(9000)] : [100, 'some text'];
    for (let from = 0; from < 100; from += length) {
      const messages = Array.from({ length }, (_, n) => ({ text, clientId: `seed ${from + n}` }));
      await post(url, `helper${i}@example.com`, send, { input: { to: { key: key(i) }, messages } });
    }
    const { data } = await post(url, MALLORY, find, { key: key(i) });
    ids[i] = data.conversation.id;
  }
}

await prepare();
for (const [name, start] of Object.entries(ATTACKS)) if (only.length === 0 || only.includes(name)) start();
process.stdout.write('attacking\n');
await setTimeout(1000 * Number(seconds));
stopped = true;
for (const handle of open) handle.destroy();
process.exit(0);
