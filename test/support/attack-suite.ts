import fc from 'fast-check';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import type { EmailAddress, ListedConversation, Member } from '../../src/model.ts';
import type { ChatListPage, ChatListPosition, Store } from '../../src/store/store.ts';
import { CANARY, type Canary, startCanary } from './canary.ts';
import { post } from './clients.ts';
import { startServer, type TestServer } from './server.ts';

/** The attacking users: each with its own credential. */
export const MALLORY = 'mallory@example.com';
/** The user that is written to, and never acts. */
export const VICTIM = 'victim@example.com';

/** How long each attack goes on; more than a few seconds find more. */
const ATTACK_MS = 1000 * Number(process.env.RANDOM_SECONDS ?? 3);

export interface Besieged extends TestServer {
  readonly canary: Canary;
  /** A conversation of the attacker's own. */
  readonly own: string;
}

/**
 * Attacks a server while users chat on it: they are not affected, and only permitted writes of the attacker remain.
 */
export function underAttack(name: string, attack: (server: Besieged) => Promise<fc.IAsyncProperty<unknown>>): void {
  test(`${name}: other users are not affected, and every answer keeps to the contract`, {
    timeout: ATTACK_MS + 120_000,
  }, async () => {
    const rejections: unknown[] = [];
    const onRejection = (reason: unknown) => rejections.push(reason);
    process.on('unhandledRejection', onRejection);
    onTestFinished(() => void process.off('unhandledRejection', onRejection));
    const logged: string[] = [];
    const logger = pino({ level: 'error' }, { write: (line: string) => logged.push(line) });
    const target = await startServer({}, { logger });
    const canary = await startCanary(target);
    const opened = await post(
      target.url,
      MALLORY,
      'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }',
      { input: { to: { key: { configId: 'c1', members: [MALLORY, VICTIM] } }, text: 'mine' } },
    );
    const own: string = opened.data.sendMessage.conversation.id;

    const property = await attack({ ...target, canary, own });
    await fc.assert(property, { numRuns: 1_000_000, interruptAfterTimeLimit: ATTACK_MS });

    await expect.poll(() => target.server.subscriptions()).toBe(canary.subscriptions);
    await canary.stop();
    await expectStored(target, canary.id);
    await expect.poll(() => target.server.subscriptions()).toBe(0);
    expect(logged).toEqual([]);
    expect(rejections).toEqual([]);
  });
}

/** Every message is by a permitted sender: the canary's by its two members alone, all others by the attacker. */
async function expectStored({ store }: TestServer, canary: string): Promise<void> {
  for (const reader of [MALLORY, VICTIM, ...CANARY] as EmailAddress[]) {
    for await (const { id, lastSeq, createdAt } of conversationsOf(store, reader)) {
      const members = (await store.conversation(id))?.members ?? new Map<EmailAddress, Member>();
      const writers: string[] = id === canary ? [...CANARY] : [MALLORY];
      if (id === canary) expect([...members.keys()]).toEqual(CANARY);
      for (const { email, readSeq, joinedAt } of members.values()) {
        // A member that joins later has read the earlier messages.
        if (!writers.includes(email) && joinedAt === createdAt) expect(readSeq).toBe(0);
      }
      for (let from = 1; from <= lastSeq; from += 100) {
        for (const { sender, text, redactedAt } of await store.messages(id, from, from + 99)) {
          expect(writers).toContain(sender);
          expect(text.isWellFormed() && !text.includes('\0')).toBe(true);
          expect(text.trim() === '').toBe(redactedAt !== null);
        }
      }
    }
  }
}

async function* conversationsOf(store: Store, reader: EmailAddress): AsyncGenerator<ListedConversation> {
  const all = { configId: null, status: null, label: null, unreadOnly: false, archived: false };
  let after: ChatListPosition | null = null;
  do {
    const page: ChatListPage = await store.chatList(reader, all, { first: 100, after });
    yield* page.conversations;
    const last = page.conversations.at(-1);
    after = last && page.hasNextPage ? { pinned: false, lastActivityAt: last.lastActivityAt, id: last.id } : null;
  } while (after);
}
