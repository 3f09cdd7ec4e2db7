import { readFileSync } from 'node:fs';
import { renderGraphiQL } from '@graphql-yoga/render-graphiql';

const FETCHER = new URL('../../web/graphiql-fetcher.js', import.meta.url);

const headers = JSON.stringify({ authorization: 'Bearer ann@example.com' }, null, 2);

const SEND = `# Say something. The first message opens the conversation.
# In development the bearer token is your address: see "Headers" below.
mutation Send {
  sendMessage(
    input: {
      to: {
        key: {
          configId: "invoice-programme-1"
          members: ["ann@example.com", "bob@example.com"]
        }
      }
      text: "Hello Bob"
    }
  ) {
    message { id seq sentAt }
    conversation { id lastSeq }
  }
}
`;

const INBOX = `# Your conversations, and the newest messages of each.
query Inbox {
  chatList {
    unreadTotal
    nodes {
      id
      configId
      unreadCount
      members { email readSeq }
      messages(last: 20) { nodes { seq sender text readBy } }
    }
  }
}
`;

const LIVE = `# Your conversations as they change, over WebSocket.
# Run this, then send something in another tab.
subscription Live {
  chatListChanged {
    id
    unreadCount
    lastMessage { seq sender text }
  }
}
`;

/** The GraphiQL page, whole: it loads nothing from anywhere else. */
export function graphiqlPage(): string {
  const options = {
    title: 'Kredichat',
    defaultTabs: [SEND, INBOX, LIVE].map((query) => ({ query, headers })),
    defaultHeaders: headers,
  };
  const json = JSON.stringify(options);
  // The package takes options as JSON only, and sends no headers over WebSocket: so the page gets a fetcher of ours.
  return renderGraphiQL(options)
    .replace(json, () => `{ ...${json}, fetcher: kredichatFetcher }`)
    .replace('<script>', () => `<script>${readFileSync(FETCHER, 'utf8')}</script><script>`);
}
