import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const FETCHER = new URL('../../../web/graphiql-fetcher.js', import.meta.url);

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

interface Page {
  readonly html: Uint8Array<ArrayBuffer>;
  readonly headers: Record<string, string>;
}

let page: Promise<Page> | null = null;

/**
 * The GraphiQL page, self-contained: it loads no external resource and runs only its own scripts (CSP level 3). Its
 * 9 MB are loaded at the first request and kept for the process.
 */
export function graphiqlPage(): Promise<Page> {
  page ??= renderPage();
  return page;
}

async function renderPage(): Promise<Page> {
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  const options = {
    title: 'Kredichat',
    defaultTabs: [SEND, INBOX, LIVE].map((query) => ({ query, headers })),
    defaultHeaders: headers,
  };
  const json = JSON.stringify(options);
  // The package takes JSON options only and sends no headers over WebSocket, so the page gets its own fetcher. Its own
  // storage is per window, so that a new window starts with the examples and no credential outlives its window.
  const html = renderGraphiQL(options)
    .replace(json, () => `{ ...${json}, fetcher: kredichatFetcher, storage: kredichatStorage() }`)
    .replace('<script>', () => `<script>${readFileSync(FETCHER, 'utf8')}</script><script>`);
  const scripts = [...html.matchAll(/<script[^>]*>(.*?)<\/script>/gs)].map(
    ([, script = '']) => `'sha256-${createHash('sha256').update(script).digest('base64')}'`,
  );
  const policy = [
    ...["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
    ...[`script-src ${scripts.join(' ')}`, "style-src 'unsafe-inline'", "connect-src 'self'"],
    ...["img-src 'self' data:", 'font-src data:', 'worker-src blob:'],
  ];
  return {
    html: new TextEncoder().encode(html),
    headers: { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy.join('; ') },
  };
}
