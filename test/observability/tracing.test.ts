import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';
import { afterAll, beforeEach, expect, test, vi } from 'vitest';
import { connectGraphql, post } from '../support/clients.ts';

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
provider.register();
afterAll(() => provider.shutdown());
beforeEach(() => exporter.reset());

// The server looks for an SDK when it is loaded.
const { startServer } = await import('../support/server.ts');

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`;

const SEND = `mutation Secret($input: SendMessageInput!) {
  sendMessage(input: $input) { message { seq conversationId } }
}`;
const input = (clientId: string) => ({
  to: { key: { configId: 'config-1', members: ['ann@example.com', 'bob@example.com'] } },
  ...{ text: 'Secret text', clientId },
});

const spans = (name: string) => exporter.getFinishedSpans().filter((span) => span.name === name);
const idOf = (span: ReadableSpan | undefined) => span?.spanContext().spanId;

test("the store's commands are children of the operation, which is a child of the request's traceparent", async () => {
  const { url } = await startServer();
  await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer ann@example.com', traceparent: TRACEPARENT },
    body: JSON.stringify({ query: SEND, variables: { input: input('secret-1') } }),
  });
  const [operation] = spans('mutation sendMessage');
  expect(operation?.spanContext().traceId).toBe(TRACE);
  expect(operation?.parentSpanContext?.spanId).toBe(PARENT);
  const [write] = spans('store.write');
  expect(write?.spanContext().traceId).toBe(TRACE);
  expect(write?.parentSpanContext?.spanId).toBe(idOf(operation));
});

test('an operation over WebSocket takes the traceparent of its extensions', async () => {
  const { ws } = await startServer();
  const line = await connectGraphql(ws, 'ann@example.com');
  const payload = { query: '{ viewer { email } }', extensions: { traceparent: TRACEPARENT } };
  line.send({ id: 'a', type: 'subscribe', payload });
  line.send({ id: 'b', type: 'subscribe', payload: { ...payload, extensions: { traceparent: 'invalid' } } });
  await vi.waitUntil(() => spans('query viewer').length === 2);
  expect(spans('query viewer').map((span) => span.parentSpanContext?.spanId)).toEqual([PARENT, undefined]);
  line.close();
});

test('a delivery links to the subscription, and no span holds a text, an address, an id or a token', async () => {
  const { url, ws } = await startServer();
  await post(url, 'ann@example.com', SEND, { input: input('secret-1') });
  const line = await connectGraphql(ws, 'bob@example.com');
  const { data } = await line.run('{ chatList { nodes { id } } }');
  const conversationId = data.chatList.nodes[0].id;
  const events = line.subscribe('subscription ($id: ID!) { messageAdded(conversationId: $id) { text } }', {
    id: conversationId,
  });
  await vi.waitUntil(() => spans('subscription messageAdded').length === 1);
  await line.run(SEND, { input: input('secret-2') });
  expect((await events.next())?.data.messageAdded.text).toBe('Secret text');
  await vi.waitUntil(() => spans('deliver').length === 1);
  const [delivery] = spans('deliver');
  const [subscription] = spans('subscription messageAdded');
  expect(delivery?.links.map(({ context }) => context.spanId)).toEqual([idOf(subscription)]);
  expect(delivery?.attributes).toEqual({ 'kredichat.events': 1 });

  const failed = await post(url, 'ann@example.com', 'query { secret: node(id: "secret") { id } }');
  expect(failed.errors).toBe(undefined);
  const invalid = await post(url, 'ann@example.com', SEND, { input: { ...input('secret-3'), text: '' } });
  expect(invalid.errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
  const all = exporter.getFinishedSpans();
  expect(spans('mutation sendMessage').map(({ attributes }) => attributes)).toContainEqual({
    'error.type': 'BAD_USER_INPUT',
  });
  const written = JSON.stringify(
    all.map(({ name, attributes, events, links, status }) => [name, attributes, events, links, status]),
  );
  expect(written).not.toMatch(/secret|ann@|bob@|config-1/i);
  line.close();
});
