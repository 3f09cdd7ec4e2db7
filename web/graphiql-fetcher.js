/**
 * GraphiQL's fetcher: queries and mutations by POST, each subscription over a WebSocket of its own
 * (sub-protocol graphql-transport-ws), so that every tab is who its "Headers" say.
 */
// biome-ignore lint/correctness/noUnusedVariables: the page that it is put into uses it
function kredichatFetcher(params, { headers = {}, documentAST } = {}) {
  const operation = documentAST?.definitions.find(
    ({ kind, name }) =>
      kind === 'OperationDefinition' && (!params.operationName || name?.value === params.operationName),
  );
  if (operation?.operation !== 'subscription') {
    const body = JSON.stringify(params);
    return fetch('/graphql', {
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
          if (type === 'connection_ack') socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: params }));
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
