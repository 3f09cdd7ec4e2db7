import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { verifyMessageProof } from '../../src/record/tlog-proof.ts';
import {
  type ConversationView,
  type MessageFieldsFragment as Message,
  ViewerDocument,
} from '../../web/client/index.ts';
import { post } from '../support/clients.ts';
import { clientOf, sent, when } from '../support/kredichat.ts';
import { wire } from '../support/proxy.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CY, BANK] = ['ann@example.com', 'bob@example.com', 'cy@example.com', 'bank@example.com'];
const KEY = { configId: 'c1', members: [ANN, BOB, BANK] };

/** A conversation with one message of Ann's, seen by Ann and Bob, and by the bank. */
async function begun() {
  const { url } = await startServer();
  const line = await wire(url);
  const [ann, bob, bank] = [clientOf(url, ANN), clientOf(line.url, BOB), clientOf(url, `${BANK}:BANK`)];
  const { conversationId: id } = await sent(ann, { to: { key: KEY }, text: 'first' });
  const views = [ann, bob, bank].map((client) => client.conversation({ id })) as [
    ConversationView,
    ConversationView,
    ConversationView,
  ];
  await Promise.all(views.map((view) => when(view, ({ phase }) => phase === 'ready')));
  return { url, line, id, clients: { ann, bob, bank }, ann: views[0], bob: views[1], bank: views[2] };
}

const message = (view: ConversationView, seq: number) => view.get().messages.find((one) => one.seq === seq) as Message;

/** The parts of the state that an interrupted view shares with a fresh one. Unread counts belong to the chat list. */
function picture({ get }: ConversationView) {
  const { messages, conversation } = get();
  return { messages, conversation: { ...conversation, unreadCount: 0 } };
}

describe('a conversation', () => {
  test('equals a fresh read after random cuts and concurrent changes', async () => {
    const { url, line, id, ann, bob, bank, clients } = await begun();
    const seq = fc.integer({ min: 1, max: 60 });
    const deed = fc.oneof(
      fc.constant({ do: 'send' as const }),
      fc.record({ do: fc.constant('cut' as const), stays: fc.boolean() }),
      fc.record({ do: fc.constant('edit' as const), seq }),
      fc.record({ do: fc.constant('redact' as const), seq }),
      fc.constant({ do: 'read' as const }),
      fc.record({
        do: fc.constant('update' as const),
        status: fc.constantFrom('OPEN' as const, 'PENDING' as const, 'RESOLVED' as const),
        label: fc.constantFrom('a', 'b'),
      }),
    );
    let count = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(deed, { minLength: 5, maxLength: 30 }), async (deeds) => {
        for (const one of deeds) {
          const last = ann.get().messages.length;
          if (one.do === 'cut') {
            line.aim(one.stays ? url : null);
            line.cut();
          } else if (one.do === 'send') await sent(clients.ann, { to: { id }, text: `text ${++count}` });
          else if (one.do === 'read') bank.markRead(last);
          else if (one.do === 'update')
            await ann.update({ status: one.status, assignee: count % 2 ? BOB : null, addLabels: [one.label] });
          // The server refuses a SYSTEM, redacted or just changed message: that changes nothing.
          else if (one.do === 'edit')
            await ann.edit(message(ann, 1 + (one.seq % last)), `edited ${++count}`).catch(() => {});
          else await bank.redact(1 + (one.seq % last), 'because').catch(() => {});
        }
        const { rev: lastRev, seq: lastSeq } = await sent(clients.ann, { to: { id }, text: 'last' });
        line.aim(url);
        bank.markRead(lastSeq);

        const fresh = clientOf(url, BOB).conversation({ id }, { pageSize: 100 });
        const allRead = ({ conversation, phase }: ReturnType<ConversationView['get']>) =>
          phase === 'ready' &&
          conversation?.members.some(({ email, readSeq }) => email === BANK && readSeq === conversation.lastSeq);
        await when(bob, (state) => state.conversation?.lastRev === lastRev && allRead(state));
        await when(fresh, allRead);
        while (fresh.get().hasOlder) await fresh.loadOlder();
        while (fresh.get().hasNewer) await fresh.loadNewer();
        await when(bob, () => JSON.stringify(picture(bob)) === JSON.stringify(picture(fresh)));
        expect(picture(bob)).toEqual(picture(fresh));
        fresh.close();
      }),
      { numRuns: 40 },
    );
  });

  test('shows edits and redactions, and reports why one is refused', async () => {
    const { ann, bob, bank } = await begun();
    const seen = message(ann, 1);
    await ann.edit(seen, 'second');
    expect(ann.get().messages[0]).toMatchObject({ text: 'second', seq: 1 });
    await when(bob, ({ messages }) => messages[0]?.text === 'second');
    expect(await bob.revisions(message(bob, 1))).toMatchObject([{ text: 'first', editor: ANN }]);
    await expect(ann.edit(seen, 'third')).rejects.toMatchObject({ name: 'KredichatError', code: 'CONFLICT' });
    await expect(bob.edit(message(bob, 1), 'x')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(bob.redact(1, 'x')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await bank.redact(1, 'a secret');
    const { messages } = await when(bob, (state) => state.messages[0]?.redactedAt);
    expect(messages[0]?.text).toBe('');
    expect(await bob.revisions(message(bob, 1))).toEqual([]);
  });

  test('proves a message, and tells a message without a proof from one that is not there', async () => {
    const { url, id, ann, bob, bank } = await begun();
    await expect.poll(() => bob.proof(1), { timeout: 30_000 }).not.toBeNull();
    const keys = (await post(url, BOB, '{ recordKeys }')).data.recordKeys;
    for (const view of [ann, bob, bank]) {
      const { entry, disclosures } = verifyMessageProof((await view.proof(1)) ?? '', keys);
      expect(entry.slice(0, 5)).toEqual([1, id, 1, 'ADDED', 1]);
      expect(disclosures[0]).toMatchObject({ name: 'text', value: 'first' });
    }
    for (const seq of [0, 2, -1]) await expect(bob.proof(seq)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await bank.update({ removeMembers: [BOB] });
    await expect(bob.proof(1)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const cy = clientOf(url, CY);
    await expect(cy.conversation({ id }).proof(1)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(cy.conversation({ key: { configId: 'new', members: [CY, ANN] } }).proof(1)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  test('never shows a text that was redacted at once', async () => {
    const { id, clients, bob, bank } = await begun();
    for (let seq = 2; seq <= 40; seq++) {
      await sent(clients.ann, { to: { id }, text: 'a secret' });
      await bank.redact(seq, 'a secret');
    }
    const { messages } = await when(bob, ({ conversation }) => conversation?.lastRev === 79);
    expect(messages.slice(1).map(({ text }) => text)).toEqual(Array.from({ length: 39 }, () => ''));
  });

  test('shows changes for all members, and a change of a message that is not loaded yet', async () => {
    const { id, clients, ann, bob } = await begun();
    for (let i = 2; i <= 40; i++) await sent(clients.ann, { to: { id }, text: String(i) });
    bob.markRead(40);
    await when(bob, ({ conversation }) => conversation?.members.some((one) => one.email === BOB && one.readSeq === 40));
    const narrow = clients.bob.conversation({ id }, { pageSize: 10 });
    await when(narrow, ({ phase }) => phase === 'ready');
    // Sequential: the requested page may or may not have the change already.
    const [editing, loading] = [ann.edit(message(ann, 25), 'changed'), narrow.loadOlder()];
    await Promise.all([editing, loading]);
    while (narrow.get().hasOlder) await narrow.loadOlder();
    await when(narrow, ({ messages }) => messages[24]?.text === 'changed');
    expect(narrow.get().messages).toHaveLength(40);

    await ann.update({ status: 'PENDING', assignee: BOB, addLabels: ['urgent'], addMembers: [CY] });
    const { conversation, messages } = await when(bob, (state) => state.conversation?.status === 'PENDING');
    expect(conversation).toMatchObject({ assignee: BOB, labels: ['urgent'], lastSeq: 41 });
    expect(conversation?.members.map(({ email }) => email)).toContain(CY);
    expect(messages.at(-1)).toMatchObject({ kind: 'SYSTEM', sender: ANN });
    expect(ann.get().conversation).toMatchObject({ status: 'PENDING', labels: ['urgent'] });
    await expect(bob.update({ removeMembers: [CY] })).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('is gone for a removed member, from the chat list too, and back when the member is added again', async () => {
    const { clients, bob, bank } = await begun();
    const list = clients.bob.chatList();
    await when(list, ({ conversations }) => conversations.length === 1);
    await bank.update({ removeMembers: [BOB] });
    const { messages, conversation } = await when(bob, ({ phase }) => phase === 'gone');
    expect(messages).toEqual([]);
    expect(conversation?.configId).toBe('c1');
    await when(list, ({ conversations }) => conversations.length === 0);
    await expect(bob.update({ status: 'PENDING' })).rejects.toMatchObject({ code: 'NOT_FOUND' });

    await bank.update({ addMembers: [BOB] });
    await when(list, ({ conversations }) => conversations.length === 1);
    await when(bob, ({ phase }) => phase === 'ready');
    await when(bob, (state) => state.messages.length === 3);
    await bob.update({ removeMembers: [BOB] });
    expect(bob.get().phase).toBe('gone');
  });

  test('shows a new member even where a chat list is faster than the answer that holds the member', async () => {
    const { url, id, clients, bank } = await begun();
    let held: (() => void)[] | null = null;
    /** A socket that holds back the answers to readings of the conversation, while there is a place for them. */
    class Holding extends WebSocket {
      private readonly readings = new Set<string>();
      override send(data: string): void {
        const { id, type, payload } = JSON.parse(data);
        if (type === 'subscribe' && /\bquery Conversation\(/.test(payload.query)) this.readings.add(id);
        super.send(data);
      }
      override emit(event: string, ...rest: unknown[]): boolean {
        const pass = () => super.emit(event, ...rest);
        if (event !== 'message' || !this.readings.has(JSON.parse(String(rest[0])).id) || !held) return pass();
        held.push(pass);
        return true;
      }
    }
    const client = clientOf(url, BOB, { webSocketImpl: Holding });
    const [list, view] = [client.chatList(), client.conversation({ id })];
    await when(list, ({ loaded }) => loaded);
    await when(view, ({ phase }) => phase === 'ready');
    // A member's first message lets the conversation be fetched again, for the member's role.
    await sent(clients.ann, { to: { id }, text: 'second' });
    await when(view, ({ messages }) => messages.length === 2);
    await client.run(ViewerDocument, {});
    held = [];
    await bank.update({ addMembers: [CY] });
    await expect.poll(() => held?.length).toBeGreaterThan(0);
    await sent(clients.ann, { to: { id }, text: 'last' });
    await when(list, ({ conversations }) => conversations[0]?.lastSeq === 4);
    for (const pass of held) pass();
    held = null;
    await when(view, ({ conversation }) => conversation?.members.some(({ email }) => email === CY));
  });

  test('is gone from every list, unread total and search result for a removed or former member', async () => {
    const { url, id, clients, bank } = await begun();
    await sent(clients.ann, { to: { key: { ...KEY, configId: 'c2' } }, text: 'other' });
    const elsewhere = [clientOf(url, BOB), clientOf(url, BOB)];
    const lists = elsewhere.flatMap((client) => [client.chatList(), client.chatList({ archived: true })]);
    const listed = (list: (typeof lists)[number]) =>
      list
        .get()
        .conversations.map(({ configId }) => configId)
        .sort();
    for (const list of lists) await when(list, ({ loaded }) => loaded);
    expect(lists.map(listed)).toEqual([['c1', 'c2'], [], ['c1', 'c2'], []]);
    const told: string[] = [];
    elsewhere[0]?.onGone((gone) => told.push(gone));
    await bank.update({ removeMembers: [BOB] });
    for (const list of lists)
      await when(list, ({ conversations }) => conversations.every(({ configId }) => configId !== 'c1'));
    for (const list of [lists[0], lists[2]]) if (list) await when(list, ({ unreadTotal }) => unreadTotal === 1);
    expect([...new Set(told)]).toEqual([id]);

    await bank.update({ addMembers: [BOB] });
    for (const list of [lists[0], lists[2]]) if (list) await when(list, () => listed(list).length === 2);
    const view = elsewhere[1]?.conversation({ id });
    if (!view) throw new Error('it was just opened');
    await when(view, ({ phase }) => phase === 'ready');
    await view.view({ archived: true });
    for (const list of [lists[1], lists[3]]) if (list) await when(list, () => listed(list).length === 1);
    await view.update({ removeMembers: [BOB] });
    for (const list of lists)
      await when(list, ({ conversations }) => conversations.every(({ configId }) => configId !== 'c1'));
  });

  test('is muted, pinned and archived for the viewer alone, in every view', async () => {
    const { id, clients, bob, ann, url } = await begun();
    const [list, archive] = [clients.bob.chatList(), clients.bob.chatList({ archived: true })];
    const elsewhere = clientOf(url, BOB);
    const other = elsewhere.chatList();
    for (const one of [list, archive, other]) await when(one, ({ loaded }) => loaded);
    await bob.view({ pinned: true, muted: true });
    expect(bob.get().conversation).toMatchObject({ pinned: true, muted: true, archived: false });
    await bob.view({ archived: true });
    expect(list.get().conversations).toEqual([]);
    expect(archive.get().conversations.map((one) => one.id)).toEqual([id]);
    await when(other, ({ conversations }) => conversations.length === 0);
    await bob.view({ muted: false });
    await sent(clients.ann, { to: { id }, text: 'back' });
    await when(list, ({ conversations }) => conversations.length === 1);
    await when(archive, ({ conversations }) => conversations.length === 0);
    await when(bob, ({ conversation }) => conversation?.archived === false);
    expect(ann.get().conversation).toMatchObject({ muted: false, pinned: false });
  });
});

test('typing is sent rarely, shown while it lasts, and cleared with the connection', async () => {
  const { url, line, id, clients, ann, bob } = await begun();
  const frames: string[] = [];
  class Counted extends WebSocket {
    override send(data: string): void {
      if (data.includes('setTyping')) frames.push(data);
      super.send(data);
    }
  }
  let now = 0;
  const typist = clientOf(url, ANN, { webSocketImpl: Counted, clock: () => now });
  const view = typist.conversation({ id });
  await when(view, ({ phase }) => phase === 'ready');
  for (let i = 0; i < 50; i++) view.typing(true);
  await when(bob.typists, (typists) => typists.includes(ANN));
  expect(frames).toHaveLength(1);
  now += 4000;
  for (let i = 0; i < 50; i++) view.typing(true);
  view.typing(false);
  view.typing(false);
  await when(bob.typists, (typists) => typists.length === 0);
  expect(frames).toHaveLength(3);
  expect(ann.typists.get()).toEqual([]);

  view.typing(true);
  await when(bob.typists, (typists) => typists.includes(ANN));
  line.cut();
  await when(bob.typists, (typists) => typists.length === 0);

  // The message that the member was typing has arrived.
  view.typing(false);
  await when(clients.bob.status, ({ state }) => state === 'online');
  await when(bob, ({ phase }) => phase === 'ready');
  await sent(typist, { to: { id }, text: 'typed' });
  await when(bob, ({ messages }) => messages.at(-1)?.text === 'typed');
  expect(bob.typists.get()).toEqual([]);
});

test('a search returns pages, and the view can jump to a hit', async () => {
  const { id, clients } = await begun();
  for (let i = 2; i <= 120; i++)
    await sent(clients.ann, { to: { id }, text: i % 10 ? `about ${i}` : `The Größe of invoice ${i}` });
  const elsewhere = { configId: 'c2', members: [ANN, BOB] };
  const { conversationId: other } = await sent(clients.ann, {
    to: { key: elsewhere },
    text: 'one more invoice',
    subject: 'Other',
  });
  const texts: string[] = [];
  let page = await clients.bob.search('INVO*', { pageSize: 5 });
  for (;;) {
    texts.push(...page.hits.map((hit) => `${hit.conversation?.subject ?? ''} ${hit.message.text}`));
    if (!page.more) break;
    page = await page.more();
  }
  expect(texts).toHaveLength(13);
  expect(texts).toContain('Other one more invoice');
  const here = await clients.bob.search('grosse invoice', { in: id, pageSize: 100 });
  expect(here.hits.every(({ conversation }) => conversation?.id === id)).toBe(true);
  expect((await clients.bob.search('one', { in: other })).hits).toHaveLength(1);
  await expect(clients.bob.search('x', { in: 'nothing' })).rejects.toMatchObject({ code: 'NOT_FOUND' });

  const view = clients.bob.conversation({ id }, { pageSize: 10, at: 60 });
  await when(view, ({ phase }) => phase === 'ready');
  const shown = () => view.get().messages.map(({ seq }) => seq);
  expect(shown()).toContain(60);
  await view.jumpTo(110);
  expect(shown()).toContain(110);
  expect(shown()).not.toContain(60);
  await view.jumpTo(60);
  expect(shown()).toContain(60);
  await view.loadNewer();
  while (view.get().hasNewer) await view.loadNewer();
  while (view.get().hasOlder) await view.loadOlder();
  expect(shown()).toEqual(Array.from({ length: 120 }, (_, i) => i + 1));
});
