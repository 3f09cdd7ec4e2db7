import { expect } from 'vitest';
import { connectGraphql, connectLegacy, type Line, post } from './clients.ts';

/** Milliseconds between two messages of one client. */
const PACE_MS = 1000;

const SEND =
  'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } conversation { id } } }';
const ADDED =
  'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { seq text } }';
const LOG = `query ($id: ID!, $after: String) { conversation(by: { id: $id }) {
  messages(first: 100, after: $after) { nodes { text } pageInfo { hasNextPage endCursor } } } }`;

export interface Honest {
  /** Milliseconds from each message's sending to its arrival at the other, where that one does not poll. */
  readonly deliveries: number[];
  /** Milliseconds from each message's sending to its acknowledgement. */
  readonly acknowledgements: number[];
  /**
   * Lets all clients finish. All they sent was acknowledged, arrived at both, once and in order, and no socket was
   * closed.
   */
  stop(): Promise<void>;
  readonly lines: readonly Line[];
}

/** Pairs of chatting users, one of each by graphql-ws and one by legacy frames; every other legacy client polls. */
export async function startHonest(server: { url: string; ws: string }, pairs: number): Promise<Honest> {
  const deliveries: number[] = [];
  const acknowledgements: number[] = [];
  const closed: unknown[] = [];
  const chats = await Promise.all(
    Array.from({ length: pairs }, (_, i) => startPair(server, i, { deliveries, acknowledgements })),
  );
  let stopped = false;
  const lines = chats.flatMap((chat) => chat.lines);
  for (const line of lines) void line.closed().then((end) => stopped || closed.push(end));
  return {
    deliveries,
    acknowledgements,
    lines,
    async stop() {
      await Promise.all(chats.map(({ stop }) => stop()));
      expect(closed).toEqual([]);
      stopped = true;
    },
  };
}

type Times = Pick<Honest, 'deliveries' | 'acknowledgements'>;

async function startPair({ url, ws }: { url: string; ws: string }, pair: number, times: Times) {
  const [graphql, legacy] = [`graphql${pair}@example.com`, `legacy${pair}@example.com`];
  const configId = `honest ${pair}`;
  const polls = pair % 2 === 1;
  const line = await connectGraphql(ws, graphql);
  const opened = await line.run(SEND, {
    input: { to: { key: { configId, members: [graphql, legacy] } }, text: 'hello' },
  });
  const { id } = opened.data.sendMessage.conversation;
  const sentAt = new Map<string, number>();
  const acknowledged = ['hello'];

  /** The messages that one of them received, in this order. */
  function createEar(other: string, live: boolean) {
    const heard: string[] = [];
    let wake = () => {};
    return {
      heard,
      hear(text: string) {
        heard.push(text);
        const at = sentAt.get(text);
        if (live && at !== undefined && text.startsWith(other)) times.deliveries.push(performance.now() - at);
        wake();
      },
      async until(count: number) {
        while (heard.length < count) await new Promise<void>((resolve) => (wake = resolve));
      },
    };
  }

  const ears = { graphql: createEar(legacy, true), legacy: createEar(graphql, !polls) };
  const events = line.subscribe(ADDED, { id, after: 0 });
  void (async () => {
    for (let event = await events.next(); event; event = await events.next())
      ears.graphql.hear(event.data.messageAdded.text);
  })().catch(() => {});

  const socket = await connectLegacy(ws, legacy, polls ? '' : '&live=1');
  const asked: ((frame: { data: { pages: number; message: { text: string }[] }[]; error?: unknown }) => void)[] = [];
  void (async () => {
    for (;;) {
      const frame = await socket.next();
      if (frame.type === 'MESSAGE') ears.legacy.hear(frame.message[0].text);
      else asked.shift()?.(frame);
    }
  })().catch(() => {});
  const ask = (frame: object) => {
    socket.send({ config_id: configId, members: [graphql], ...frame });
    return new Promise<Parameters<(typeof asked)[number]>[0]>((resolve) => asked.push(resolve));
  };
  /** Reads back from the newest page to the messages received already. */
  async function poll(): Promise<void> {
    const news: string[] = [];
    for (let page = 1, pages = 1; page <= pages; page++) {
      const [answer] = (await ask({ type: 'RECEIVE', page })).data;
      const texts = (answer?.message ?? []).map(({ text }) => text);
      // A page that moved meanwhile begins with the end of the one before it.
      const fresh = texts.filter((text) => !ears.legacy.heard.includes(text) && !news.includes(text));
      news.unshift(...fresh);
      pages = fresh.length === texts.length ? (answer?.pages ?? 0) : 0;
    }
    for (const text of news) ears.legacy.hear(text);
  }
  await poll();

  let polling: Promise<unknown> = Promise.resolve();
  const send = {
    graphql: (text: string) => line.run(SEND, { input: { to: { id }, text, clientId: text } }),
    legacy: (text: string) => ask({ type: 'SEND', message: [{ text }], client_id: text }),
  };
  const sends: Promise<void>[] = [];
  async function say(how: keyof typeof send, text: string): Promise<void> {
    sentAt.set(text, performance.now());
    const answer = await send[how](text);
    expect('error' in answer || 'errors' in answer ? answer : null).toBeNull();
    times.acknowledgements.push(performance.now() - (sentAt.get(text) ?? 0));
    acknowledged.push(text);
  }
  const timers = (['graphql', 'legacy'] as const).map((how) => {
    let said = 0;
    const name = how === 'graphql' ? graphql : legacy;
    return setInterval(() => {
      sends.push(say(how, `${name} ${said++}`));
      if (polls && how === 'legacy') polling = polling.then(poll);
    }, PACE_MS);
  });

  return {
    lines: [line, socket],
    async stop() {
      for (const timer of timers) clearInterval(timer);
      await Promise.all(sends);
      if (polls) await polling.then(poll);
      const log: string[] = [];
      for (let after: string | null = null, more = true; more; ) {
        const { data } = await post(url, graphql, LOG, { id, after });
        const { nodes, pageInfo } = data.conversation.messages;
        log.push(...nodes.map(({ text }: { text: string }) => text));
        more = pageInfo.hasNextPage;
        after = pageInfo.endCursor;
      }
      await Promise.all([ears.graphql.until(log.length), ears.legacy.until(log.length)]);
      expect([...log].sort()).toEqual([...acknowledged].sort());
      expect(ears.graphql.heard).toEqual(log);
      expect(ears.legacy.heard).toEqual(log);
      for (const name of [graphql, legacy]) {
        const own = log.filter((text) => text.startsWith(name));
        expect(own).toEqual(own.map((_, i) => `${name} ${i}`));
      }
    },
  };
}
