/**
 * The code generator's client preset with nothing but `fetch`: says something, and prints the inbox.
 * `npx tsx examples/client-preset/main.ts http://127.0.0.1:4000 ann@example.com bob@example.com "Hello Bob"`
 */
import { randomUUID } from 'node:crypto';
import type { TypedDocumentString } from './generated/graphql.ts';
import { graphql } from './generated/index.ts';

const [url = 'http://127.0.0.1:4000', me = 'ann@example.com', other = 'bob@example.com', text = 'Hello'] =
  process.argv.slice(2);

const Say = graphql(`
  mutation Say($input: SendMessageInput!) {
    sendMessage(input: $input) {
      message {
        seq
        sentAt
      }
    }
  }
`);

const Inbox = graphql(`
  query Inbox {
    chatList(first: 10) {
      unreadTotal
      nodes {
        configId
        unreadCount
        lastMessage {
          sender
          text
        }
      }
    }
  }
`);

/** Runs an operation over HTTP; its variables and its result have the types that were generated for it. */
async function run<Result, Variables>(operation: TypedDocumentString<Result, Variables>, variables: Variables) {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${me}` },
    body: JSON.stringify({ query: operation, variables }),
  });
  const { data, errors } = (await response.json()) as { data?: Result; errors?: { message: string }[] };
  if (!data || errors) throw new Error(errors?.[0]?.message ?? 'no data');
  return data;
}

// The client id makes it safe to repeat this when the answer is lost.
const to = { key: { configId: 'invoice-programme-1', members: [me, other] } };
const { sendMessage } = await run(Say, { input: { to, text, clientId: randomUUID() } });
console.log(`Stored as number ${sendMessage.message.seq} at ${sendMessage.message.sentAt}.`);

const { chatList } = await run(Inbox, {});
for (const { configId, unreadCount, lastMessage } of chatList.nodes) {
  console.log(`${configId} (${unreadCount} unread): ${lastMessage?.sender}: ${lastMessage?.text}`);
}
