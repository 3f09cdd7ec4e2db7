import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Answer, connectGraphql, type GraphqlLine } from '../support/clients.ts';
import { startServer } from '../support/server.ts';
import { type Change, createModel, emailOf, type Model, PEOPLE, type Person } from './conversations-model.ts';

const credential = (who: Person) => `${emailOf(who)}:${who === 'ann' ? 'BANK' : 'CUSTOMER'}`;
const MESSAGE = 'seq rev kind sender text redactedAt revisions { text }';
const STATE = `id status labels assignee lastSeq lastRev unreadCount muted pinned archived
  members { email readSeq leftAt }
  messages(first: 100) { nodes { ${MESSAGE} } }`;
const EVENTS = `subscription ($id: ID!, $afterRev: Int) {
  conversationEvents(conversationId: $id, afterRev: $afterRev) { __typename
  ... on MessageAdded { rev message { ${MESSAGE} } } ... on MessageChanged { rev message { ${MESSAGE} } }
  ... on ReadMoved { member readSeq } ... on CaughtUp { rev seq } } }`;

interface Seen {
  readonly seq: number;
  readonly rev: number;
  readonly text: string;
}

/** A client that keeps a conversation up to date by its events alone. */
function createSubscriber(line: GraphqlLine, id: string) {
  const messages = new Map<number, Seen>();
  const reads = new Map<string, number>();
  const failures: unknown[] = [];
  let rev = 0;
  let stream: ReturnType<GraphqlLine['subscribe']> | null = null;
  const take = (event: Record<string, unknown> & { __typename: string }) => {
    if (event.__typename === 'ReadMoved') reads.set(String(event.member), Number(event.readSeq));
    else if (event.__typename === 'CaughtUp') rev = Math.max(rev, Number(event.rev));
    else {
      const message = event.message as Seen;
      expect(message.rev).toBe(event.rev);
      expect(message.rev).toBeGreaterThan(rev);
      expect(messages.has(message.seq)).toBe(event.__typename === 'MessageChanged');
      messages.set(message.seq, message);
      rev = message.rev;
    }
  };
  return {
    messages,
    reads,
    failures,
    rev: () => rev,
    cut(): void {
      stream?.stop();
      stream = null;
    },
    follow(): void {
      if (stream) return;
      const mine = line.subscribe(EVENTS, { id, afterRev: rev });
      stream = mine;
      void (async () => {
        for (;;) {
          const answer = await mine.next();
          if (stream !== mine) return;
          if (!answer?.data) {
            stream = null;
            return;
          }
          take(answer.data.conversationEvents);
        }
      })().catch((error: unknown) => failures.push(error));
    },
  };
}

const TEXTS = ['pay now', 'Pay PAY later', 'invoice paid', 'nothing'];
const share = fc.double({ min: 0, max: 0.999, noNaN: true });
const some = (list: readonly string[]) => fc.subarray([...list], { minLength: 1, maxLength: 2 });
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ status: fc.constantFrom('OPEN', 'PENDING', 'RESOLVED', 'CLOSED') }),
  fc.record({ assignee: fc.constantFrom(...PEOPLE, null) }),
  fc.record({ addLabels: some(['x', 'y', 'z']) }),
  fc.record({ removeLabels: some(['x', 'y', 'z']) }),
  fc.record({ addMembers: some(PEOPLE) as fc.Arbitrary<Person[]> }),
  fc.record({ removeMembers: some(PEOPLE) as fc.Arbitrary<Person[]> }),
  fc.record({ status: fc.constantFrom('OPEN', 'PENDING'), addLabels: some(['x', 'y']) }),
) as fc.Arbitrary<Change>;
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('send' as const), text: fc.constantFrom(...TEXTS) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      ...{ kind: fc.constant('edit' as const), at: share, text: fc.constantFrom(...TEXTS), stale: fc.boolean() },
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('redact' as const), at: share }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('update' as const), change }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('read' as const), at: share }) },
  {
    weight: 1,
    arbitrary: fc.record({
      ...{ kind: fc.constant('view' as const), muted: fc.boolean(), pinned: fc.boolean(), archived: fc.boolean() },
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('cut' as const, 'follow' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
/** A step that is done to a conversation. */
type Deed = Exclude<Step, { kind: 'cut' | 'follow' }>;

test('any history of four members has the state that brute force computes, for each of them', {
  timeout: 240_000,
}, async () => {
  let tick = Date.now();
  const { ws } = await startServer({ RATE_LIMIT_MESSAGES: '0' }, { clock: () => ++tick });
  const lines = new Map<Person, GraphqlLine>();
  for (const who of PEOPLE) lines.set(who, await connectGraphql(ws, credential(who)));
  const run = (who: Person, query: string, variables: object): Promise<Answer> =>
    (lines.get(who) as GraphqlLine).run(query, variables as Record<string, unknown>);
  const mutate = async (who: Person, field: string, type: string, input: object): Promise<string | null> => {
    const query = `mutation ($input: ${type}!) { ${field}(input: $input) { __typename } }`;
    return (await run(who, query, { input })).errors?.[0]?.extensions.code ?? null;
  };

  /** Runs a step, and returns its outcome here and in the model. */
  function perform(model: Model, id: string, who: Person, one: Deed) {
    const seqOf = (at: number) => 1 + Math.floor(at * model.log.length);
    const about = { conversationId: id };
    switch (one.kind) {
      case 'send':
        return [
          mutate(who, 'sendMessage', 'SendMessageInput', { to: { id }, text: one.text }),
          model.send(who, one.text, ++tick),
        ];
      case 'edit': {
        const seq = seqOf(one.at);
        const expectedRev = one.stale ? 1 : null;
        const input = { ...about, seq, text: one.text, expectedRev };
        return [mutate(who, 'editMessage', 'EditMessageInput', input), model.edit(who, seq, one.text, expectedRev)];
      }
      case 'redact': {
        const seq = seqOf(one.at);
        return [
          mutate(who, 'redactMessage', 'RedactMessageInput', { ...about, seq, reason: 'r' }),
          model.redact(who, seq),
        ];
      }
      case 'read': {
        const seq = Math.floor(one.at * (model.log.length + 1));
        return [mutate(who, 'markRead', 'MarkReadInput', { ...about, seq }), model.read(who, seq)];
      }
      case 'view': {
        const { kind, ...view } = one;
        return [mutate(who, 'updateView', 'UpdateViewInput', { ...about, ...view }), model.view(who, view)];
      }
      case 'update': {
        const { assignee, addMembers, removeMembers, ...rest } = one.change;
        const input = {
          ...about,
          ...rest,
          ...(assignee !== undefined && { assignee: assignee && emailOf(assignee) }),
          ...(addMembers && { addMembers: addMembers.map(emailOf) }),
          ...(removeMembers && { removeMembers: removeMembers.map(emailOf) }),
        };
        return [
          mutate(who, 'updateConversation', 'UpdateConversationInput', input),
          model.update(who, one.change, ++tick),
        ];
      }
    }
  }

  const shown = (entry: Model['log'][number]) => ({
    ...{ seq: entry.seq, rev: entry.rev, kind: entry.kind, sender: emailOf(entry.sender), text: entry.text },
    redactedAt: entry.redacted ? expect.any(String) : null,
    revisions: entry.revisions.map((text) => ({ text })),
  });

  let round = 0;
  const history = fc.array(fc.tuple(fc.constantFrom(0, 1), fc.constantFrom(...PEOPLE), step), {
    minLength: 10,
    maxLength: 40,
  });
  await fc.assert(
    fc.asyncProperty(history, share, async (steps, from) => {
      const configId = `round ${++round}`;
      const both: { id: string; model: Model; followers: Map<Person, ReturnType<typeof createSubscriber>> }[] = [];
      for (const members of [['ann', 'bob', 'cat'] as const, PEOPLE]) {
        const to = { key: { configId: `${configId} ${members.length}`, members: members.map(emailOf) } };
        const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
        const { data } = await run('ann', send, { input: { to, text: 'pay' } });
        const { id } = data.sendMessage.conversation;
        const followers = new Map(PEOPLE.map((who) => [who, createSubscriber(lines.get(who) as GraphqlLine, id)]));
        both.push({ id, model: createModel(members, 'pay', ++tick), followers });
      }
      for (const [which, who, one] of steps) {
        const { id, model, followers } = both[which] as (typeof both)[number];
        if (one.kind === 'cut') followers.get(who)?.cut();
        else if (one.kind === 'follow') followers.get(who)?.follow();
        else {
          const [outcome, expected] = perform(model, id, who, one as Deed);
          expect(await outcome, `${who} ${JSON.stringify(one)}`).toBe(expected);
        }
      }

      for (const who of PEOPLE) {
        for (const { id, model, followers } of both) {
          const { data } = await run(who, `query ($id: ID!) { conversation(by: { id: $id }) { ${STATE} } }`, { id });
          const own = model.members.get(who);
          if (!own?.present) {
            expect(data.conversation).toBeNull();
            continue;
          }
          const { members, messages, ...rest } = data.conversation;
          expect(messages.nodes).toEqual(model.log.map(shown));
          expect(rest).toEqual({
            ...{ id, status: model.status, labels: model.labels, lastSeq: model.log.length, lastRev: model.lastRev },
            assignee: model.assignee && emailOf(model.assignee),
            unreadCount: model.unread(who).length,
            ...{ muted: own.muted, pinned: own.pinned, archived: own.archived },
          });
          const expected = [...model.members].map(([one, { readSeq, present }]) => [emailOf(one), readSeq, present]);
          const found = members.map((one: { email: string; readSeq: number; leftAt: string | null }) => [
            one.email,
            one.readSeq,
            one.leftAt === null,
          ]);
          expect(found.sort()).toEqual(expected.sort());

          // A subscriber that was cut, and one that begins at any position, end in the same state.
          const begun = createSubscriber(lines.get(who) as GraphqlLine, id);
          const follower = followers.get(who) as ReturnType<typeof createSubscriber>;
          for (const one of [begun, follower]) {
            one.follow();
            await expect.poll(one.rev).toBe(model.lastRev);
            expect([...one.messages.values()].sort((a, b) => a.seq - b.seq)).toEqual(model.log.map(shown));
            const reads = [...model.members].map(([one, { readSeq }]) => [emailOf(one), readSeq]);
            await expect.poll(() => [...one.reads].sort()).toEqual(reads.sort());
            expect(one.failures).toEqual([]);
            one.cut();
          }
          const afterRev = Math.floor(from * model.lastRev);
          const stream = (lines.get(who) as GraphqlLine).subscribe(EVENTS, { id, afterRev });
          const replayed: unknown[] = [];
          for (;;) {
            const { __typename, rev, message } = (await stream.next())?.data.conversationEvents ?? {};
            if (__typename === 'ReadMoved') continue;
            if (__typename === 'CaughtUp') break;
            replayed.push([__typename, rev, message.text]);
          }
          stream.stop();
          expect(replayed).toEqual(
            model.log
              .filter(({ rev }) => rev > afterRev)
              .sort((a, b) => a.rev - b.rev)
              .map(({ addedRev, rev, text }) => [addedRev > afterRev ? 'MessageAdded' : 'MessageChanged', rev, text]),
          );
        }

        const mine = both.filter(({ model }) => model.present(who));
        for (const archived of [false, true]) {
          const filter = { archived };
          const list = 'query ($filter: ChatListFilter) { chatList(first: 100, filter: $filter) { nodes { id } } }';
          const { nodes } = (await run(who, list, { filter })).data.chatList;
          const listed = nodes
            .map(({ id }: { id: string }) => id)
            .filter((id: string) => both.some((one) => one.id === id));
          const expected = mine
            .filter(({ model }) => model.members.get(who)?.archived === archived)
            .sort(
              (a, b) =>
                Number(b.model.members.get(who)?.pinned) - Number(a.model.members.get(who)?.pinned) ||
                b.model.tick - a.model.tick,
            );
          expect(listed).toEqual(expected.map(({ id }) => id));
        }
        for (const { id, model } of both) {
          const search = 'query ($id: ID!) { searchMessages(query: "pa*", in: $id, first: 100) { nodes { seq } } }';
          const { data, errors } = await run(who, search, { id });
          if (!model.present(who)) {
            expect(errors?.[0]?.extensions.code).toBe('NOT_FOUND');
            continue;
          }
          const score = (text: string) => text.split(' ').filter((word) => /^pa/i.test(word)).length;
          const expected = model.log
            .filter(({ kind, text }) => kind === 'TEXT' && score(text) > 0)
            .sort((a, b) => score(b.text) - score(a.text) || b.seq - a.seq);
          expect(data.searchMessages.nodes).toEqual(expected.map(({ seq }) => ({ seq })));
        }
      }
      for (const { followers } of both) for (const follower of followers.values()) follower.cut();
    }),
    { numRuns: 12 },
  );
});
