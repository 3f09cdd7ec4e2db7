import { createClient, type KredichatError } from 'kredichat/client';
import { WebSocket } from 'ws'; // Browsers and Node.js 22 have their own.

const [url = 'http://127.0.0.1:4000', me = 'ann@example.com', other = 'bob@example.com'] = process.argv.slice(2);
const client = createClient({ url: `${url}/graphql`, token: () => me, webSocketImpl: WebSocket });
client.status.subscribe(() => console.log('connection:', client.status.get().state));

const list = client.chatList();
list.subscribe(() => console.log('unread:', list.get().unreadTotal));

const chat = client.conversation({ key: { configId: 'invoice-programme-1', members: [me, other] } });
chat.subscribe(() => {
  const { messages, outgoing } = chat.get();
  for (const { seq, sender, text } of messages.slice(-3)) console.log(seq, sender, text);
  for (const { text, state } of outgoing) console.log(state, text);
});
chat.send('Hello'); // Kept until it is stored: over lost connections, killed servers and reloads.

await client.viewer().catch((error: KredichatError) => console.error(error.code));
