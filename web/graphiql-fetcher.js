/**
 * GraphiQL's fetcher: queries and mutations by POST, each subscription over a WebSocket of its own (sub-protocol
 * graphql-transport-ws), so that every tab uses the identity of its "Headers".
 */
// biome-ignore lint/correctness/noUnusedVariables: used by the page that embeds this file
function kredichatFetcher({ operationName, ...params }, { headers = {} } = {}) {
  // `operationName` may belong to the tab shown before, while the text belongs to this one.
  const operations = [...params.query.matchAll(/^\s*(query|mutation|subscription)\s+(\w+)/gm)];
  const [, kind, name] = operations.find(([, , other]) => other === operationName) ?? operations[0] ?? [];
  const body = JSON.stringify({ ...params, operationName: name });
  if (kind !== 'subscription' && !/^\s*subscription\b/m.test(name ? '' : params.query)) {
    return fetch(location.pathname, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    }).then((response) => response.json());
  }
  return {
    async *[Symbol.asyncIterator]() {
      const socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/[?#].*/, ''), 'graphql-transport-ws');
      const received = [];
      let wake = () => {};
      const take = (message) => {
        received.push(message);
        wake();
      };
      socket.onopen = () => socket.send(JSON.stringify({ type: 'connection_init', payload: headers }));
      socket.onmessage = ({ data }) => take(JSON.parse(data));
      socket.onclose = ({ code, reason }) => take({ type: 'closed', payload: `The socket closed: ${code} ${reason}` });
      try {
        for (;;) {
          while (received.length === 0) {
            await new Promise((resolve) => {
              wake = resolve;
            });
          }
          const { type, payload } = received.shift();
          if (type === 'connection_ack') socket.send(`{"id":"1","type":"subscribe","payload":${body}}`);
          else if (type === 'next') yield payload;
          else if (type === 'ping') socket.send(JSON.stringify({ type: 'pong' }));
          else if (type === 'error') return yield { errors: payload };
          else if (type === 'closed') return yield { errors: [{ message: payload }] };
          else if (type === 'complete') return;
        }
      } finally {
        socket.close();
      }
    },
  };
}

/** Storage for the tabs of this window; null where the browser blocks it. */
// biome-ignore lint/correctness/noUnusedVariables: used by the page that embeds this file
function kredichatStorage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
