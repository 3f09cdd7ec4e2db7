import { expect } from 'vitest';
import { connectGraphql, connectLegacy } from './clients.ts';
import type { TestServer } from './server.ts';

/** The two members of a conversation that no other user may read or write. */
export const CANARY = ['ann@example.com', 'bob@example.com'] as const;
const [ANN, BOB] = CANARY;
const KEY = { configId: 'canary', members: CANARY };
const LEGACY = { config_id: 'canary', members: [ANN] };
const SEND =
  'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } conversation { id } } }';
const ADDED =
  'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { seq text } }';

export interface Canary {
  /** The id of their conversation. */
  readonly id: string;
  /** Live subscriptions they hold. */
  readonly subscriptions: number;
  /**
   * Lets them finish. All their messages arrived at both, once and in order, and a read returns the same.
   */
  stop(): Promise<void>;
}

/** Two honest clients on sockets of their own, one of each kind: each answers as soon as it has heard the other. */
export async function startCanary({ ws }: Pick<TestServer, 'ws'>): Promise<Canary> {
  const ann = await connectGraphql(ws, ANN);
  const bob = await connectLegacy(ws, BOB, '&live=1');
  const said = ['opening'];
  const { data } = await ann.run(SEND, { input: { to: { key: KEY }, text: 'opening' } });
  const { id } = data.sendMessage.conversation;
  const heard = { ann: [] as string[], bob: ['opening'] };
  const events = ann.subscribe(ADDED, { id, after: 0 });
  bob.send({ type: 'RECEIVE', ...LEGACY });
  expect((await bob.next()).type).toBe('RECEIVE');

  async function annHears(text: string): Promise<void> {
    while (heard.ann.at(-1) !== text) {
      const event = await events.next();
      expect(event).toEqual({ data: { messageAdded: { seq: heard.ann.length + 1, text: expect.any(String) } } });
      heard.ann.push(event?.data.messageAdded.text);
    }
  }

  /** Until he has heard this text, and got the answer he waits for. */
  async function bobHears(text: string, answers: number): Promise<void> {
    for (let left = answers; left > 0 || heard.bob.at(-1) !== text; ) {
      const frame = await bob.next();
      if (frame.type === 'SEND') left--;
      else expect(frame).toMatchObject({ type: 'MESSAGE', config_id: 'canary' });
      expect(frame.error).toBeUndefined();
      if (frame.type === 'MESSAGE') heard.bob.push(frame.message[0].text);
    }
  }

  let chatting = true;
  const chat = (async () => {
    for (let round = 0; chatting; round++) {
      const [question, answer] = [`question ${round}`, `answer ${round}`];
      said.push(question, answer);
      const asked = await ann.run(SEND, { input: { to: { id }, text: question, clientId: `q${round}` } });
      expect(asked).toEqual({ data: { sendMessage: expect.anything() } });
      await bobHears(question, 0);
      bob.send({ type: 'SEND', ...LEGACY, message: [{ text: answer }], client_id: `a${round}` });
      await Promise.all([bobHears(answer, 1), annHears(answer)]);
    }
  })();
  // `stop` reports the rejection; until then it must not count as unhandled.
  chat.catch(() => {});

  return {
    id,
    subscriptions: 2,
    async stop() {
      chatting = false;
      await chat;
      expect(heard.ann).toEqual(said);
      expect(heard.bob).toEqual(said);
      const read: string[] = [];
      for (let after = 0; after < said.length; after = read.length) {
        const events = ann.subscribe(ADDED, { id, after });
        while (read.length < said.length) read.push((await events.next())?.data.messageAdded.text);
        events.stop();
      }
      expect(read).toEqual(said);
      ann.close();
      bob.close();
      await Promise.all([ann.closed(), bob.closed()]);
    },
  };
}
