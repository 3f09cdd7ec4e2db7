import fc from 'fast-check';
import { expect, test } from 'vitest';
import { connectGraphql, type GraphqlLine, post } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CAT, DAN] = ['ann@example.com', 'bob@example.com', 'cat@example.com', 'dan@example.com'];
const OTHERS = [BOB, CAT, DAN];
const START = Date.UTC(2024, 1, 5);
/** Time between two steps, in milliseconds. */
const STEP_MS = 1000;

const MESSAGE = `seq rev kind sender text clientId sentAt editedAt redactedAt revisions { text editor at rev }
  replyTo { seq rev text } changes { field from to }`;
const NOW = `query ($id: ID!) { conversation(by: { id: $id }) { lastRev status labels assignee
  members { email role joinedAt leftAt } messages(first: 100) { nodes { ${MESSAGE} } } } }`;
const THEN = `query ($id: ID!, $at: AsOf!) { conversationAsOf(id: $id, at: $at) { rev at status labels assignee
  members { email joinedAt } messages(first: 100) { nodes { ${MESSAGE} } pageInfo { hasNextPage } } } }`;

interface Shown {
  readonly seq: number;
  readonly rev: number;
  readonly text: string;
  readonly redactedAt: string | null;
  readonly revisions: readonly { readonly text: string }[];
  readonly replyTo: { readonly seq: number; readonly rev: number; readonly text: string } | null;
}

/** What a client has seen of the conversation. */
interface Seen {
  readonly at: string;
  readonly state: object;
  readonly messages: readonly Shown[];
}

const share = fc.double({ min: 0, max: 0.999, noNaN: true });
const subset = (list: readonly string[]) => fc.subarray([...list], { minLength: 1 });
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('send' as const), who: fc.nat(3), count: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('reply' as const), who: fc.nat(3), at: share }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('edit' as const), at: share, times: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('redact' as const), at: share }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('update' as const),
      changes: fc.oneof(
        fc.record({ status: fc.constantFrom('OPEN', 'PENDING', 'RESOLVED', 'CLOSED') }),
        fc.record({ assignee: fc.constantFrom(ANN, ...OTHERS, null) }),
        fc.record({ addLabels: subset(['x', 'y', 'z']) }),
        fc.record({ removeLabels: subset(['x', 'y', 'z']) }),
        fc.record({ addMembers: subset(OTHERS) }),
        fc.record({ removeMembers: subset(OTHERS) }),
        fc.record({
          status: fc.constantFrom('OPEN', 'PENDING'),
          addLabels: subset(['x', 'y']),
          addMembers: subset(OTHERS),
        }),
        fc.record({
          assignee: fc.constantFrom(ANN, null),
          removeLabels: subset(['x', 'y']),
          removeMembers: subset(OTHERS),
        }),
      ),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

let now = START;
const iso = (time: number) => new Date(time).toISOString();

/** A conversation of Ann, Bob and Cat on a server whose clock is `now`. */
async function open() {
  const { ws, url } = await startServer({}, { clock: () => now });
  const lines = new Map<string, GraphqlLine>();
  for (const who of [ANN, ...OTHERS])
    lines.set(who, await connectGraphql(ws, who === ANN ? `${ANN}:BANK` : `${who}:CUSTOMER`));
  const run = async (who: string, query: string, variables: Record<string, unknown>) => {
    const answer = await lines.get(who)?.run(query, variables);
    if (!answer) throw new Error(`${who} has no line`);
    return answer;
  };
  let opened = 0;
  const begin = async () => {
    const input = { to: { key: { configId: `c${++opened}`, members: [ANN, BOB, CAT] } }, text: 'opening' };
    const say = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
    return (await run(ANN, say, { input })).data.sendMessage.conversation.id as string;
  };
  return { run, begin, url };
}

type Run = Awaited<ReturnType<typeof open>>['run'];

/** Lets the history happen, and returns what a client has seen after each change, by `rev`. */
async function live(run: Run, id: string, steps: readonly Step[]): Promise<Map<number, Seen>> {
  const seen = new Map<number, Seen>();
  let texts = 0;

  /** Looks at the conversation; `between` are messages as they were after each change but the last. */
  async function look(between: readonly Shown[] = []): Promise<readonly Shown[]> {
    const { lastRev, messages, members, ...rest } = (await run(ANN, NOW, { id })).data.conversation;
    const state = {
      ...rest,
      members: members
        .filter((one: { leftAt: string | null }) => one.leftAt === null)
        .map(({ email, joinedAt }: { email: string; joinedAt: string }) => ({ email, joinedAt })),
    };
    const nodes: Shown[] = messages.nodes;
    for (const message of between.filter(({ rev }) => rev < lastRev)) {
      const { seq, rev, text } = message;
      const messages = (seen.get(rev - 1)?.messages ?? []).map((one) => ({
        ...(one.seq === seq ? message : one),
        replyTo: one.replyTo?.seq === seq ? { seq, rev, text } : one.replyTo,
      }));
      seen.set(rev, { at: iso(now), state, messages });
    }
    // A send of several messages is one write: the state is that of its first change.
    for (let rev = Math.max(0, ...seen.keys()) + 1; rev <= lastRev; rev++)
      seen.set(rev, { at: iso(now), state, messages: nodes.filter((one) => one.rev <= rev || rev === lastRev) });
    return nodes;
  }

  let log = await look();
  for (const one of steps) {
    now += STEP_MS;
    if (one.kind === 'send' || one.kind === 'reply') {
      const who = [ANN, ...OTHERS][one.who] ?? ANN;
      const replyToSeq = one.kind === 'reply' ? 1 + Math.floor(one.at * log.length) : null;
      const count = one.kind === 'send' ? one.count : 1;
      const messages = Array.from({ length: count }, () => ({
        text: `text ${++texts}`,
        clientId: `${texts}`,
        replyToSeq,
      }));
      const say = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { deduplicated } }';
      await run(who, say, { input: { to: { id }, messages } });
      log = await look();
    } else if (one.kind === 'update') {
      const update = 'mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { __typename } }';
      await run(ANN, update, { input: { conversationId: id, ...one.changes } });
      log = await look();
    } else {
      const { seq, sender } = (log[Math.floor(one.at * log.length)] ?? log[0]) as Shown & { sender: string };
      const input = { conversationId: id, seq };
      if (one.kind === 'redact') {
        const redact = 'mutation ($input: RedactMessageInput!) { redactMessage(input: $input) { __typename } }';
        await run(ANN, redact, { input: { ...input, reason: 'a reason' } });
        log = await look();
      } else {
        // Edits at once are one write.
        const edit = `mutation ($input: EditMessageInput!) { editMessage(input: $input) { message { ${MESSAGE} } } }`;
        const edits = Array.from({ length: one.times }, () =>
          run(sender, edit, { input: { ...input, text: `edited ${++texts}` } }),
        );
        const edited = (await Promise.all(edits)).flatMap(({ data }) => data?.editMessage?.message ?? []);
        log = await look(edited);
      }
    }
  }
  return seen;
}

/** What may be told today of what was seen: texts that were redacted since are empty. */
function told({ messages, ...seen }: Seen, redacted: ReadonlyMap<number, number>): Seen {
  const isGone = ({ seq, rev }: { seq: number; rev: number }) => rev < (redacted.get(seq) ?? 0);
  return {
    ...seen,
    messages: messages.map((one) => ({
      ...one,
      replyTo: one.replyTo && isGone(one.replyTo) ? { ...one.replyTo, text: '' } : one.replyTo,
      ...(isGone(one) && { text: '', revisions: one.revisions.map((revision) => ({ ...revision, text: '' })) }),
    })),
  };
}

test('a conversation as of each rev and time is what a client had seen that stopped there', {
  timeout: 240_000,
}, async () => {
  const { run, begin } = await open();
  const asOf = async (id: string, at: object) => {
    const { rev, at: time, messages, ...state } = (await run(ANN, THEN, { id, at })).data.conversationAsOf;
    expect(messages.pageInfo.hasNextPage).toBe(false);
    return { rev, seen: { at: time, state, messages: messages.nodes } };
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      now += STEP_MS;
      const id = await begin();
      const started = now;
      const seen = await live(run, id, steps);
      const end = Math.max(...seen.keys());
      const redacted = new Map<number, number>();
      for (const { seq, rev, redactedAt } of seen.get(end)?.messages ?? []) if (redactedAt) redacted.set(seq, rev);
      /** The last change of each time. */
      const byTime = new Map<string, number>();
      for (let rev = 1; rev <= end; rev++) {
        const expected = told(seen.get(rev) as Seen, redacted);
        expect(await asOf(id, { rev })).toEqual({ rev, seen: expected });
        byTime.set(expected.at, rev);
      }
      let expected = 0;
      for (let time = started; time <= now + STEP_MS; time += STEP_MS) {
        expected = byTime.get(iso(time)) ?? expected;
        for (const instant of [time, time + STEP_MS - 1])
          expect((await asOf(id, { time: iso(instant) })).rev).toBe(expected);
      }
    }),
    { numRuns: 20 },
  );
});

test('a point outside of the history is refused, and a conversation of others is not there', async () => {
  const { run, begin } = await open();
  const id = await begin();
  const ask = async (who: string, at: object, of = id) => {
    const { data, errors } = await run(
      who,
      'query ($id: ID!, $at: AsOf!) { conversationAsOf(id: $id, at: $at) { rev } }',
      { id: of, at },
    );
    return data?.conversationAsOf ?? errors?.[0]?.extensions.code ?? null;
  };
  expect(await ask(ANN, { rev: 1 })).toEqual({ rev: 1 });
  expect(await ask(ANN, { time: iso(now) })).toEqual({ rev: 1 });
  expect(await ask(ANN, { time: iso(now + 1e10) })).toEqual({ rev: 1 });
  for (const at of [{ rev: 0 }, { rev: -1 }, { rev: 2 }, { time: iso(now - 1) }, {}, { rev: 1, time: iso(now) }])
    expect(await ask(ANN, at), JSON.stringify(at)).toBe('BAD_USER_INPUT');
  for (const at of [{ rev: 0 }, { rev: 1 }, { rev: 2 }, { time: iso(now) }]) expect(await ask(DAN, at)).toBeNull();
  for (const other of ['x', `${id}:1`, `c_${'x'.repeat(43)}`]) expect(await ask(ANN, { rev: 1 }, other)).toBeNull();
});

test('the messages of a snapshot come in pages, as those of a conversation', async () => {
  const { run, begin, url } = await open();
  const id = await begin();
  const messages = Array.from({ length: 9 }, (_, i) => ({ text: `text ${i + 2}` }));
  const say = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { deduplicated } }';
  await run(ANN, say, { input: { to: { id }, messages } });
  await run(ANN, say, { input: { to: { id }, messages: Array.from({ length: 60 }, () => ({ text: 'later' })) } });
  const page = async (args: string, rev = 10) => {
    const query = `{ conversationAsOf(id: "${id}", at: { rev: ${rev} }) { messages${args} {
      nodes { seq } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }`;
    const { data, errors } = await post(url, ANN, query);
    if (errors) return errors[0]?.extensions.code;
    const { nodes, edges, pageInfo } = data.conversationAsOf.messages;
    const seqs: number[] = nodes.map(({ seq }: { seq: number }) => seq);
    expect(edges.map(({ cursor }: { cursor: string }) => cursor)).toEqual(seqs.map((seq) => `${id}:${seq}`));
    expect([pageInfo.startCursor, pageInfo.endCursor]).toEqual([
      edges[0]?.cursor ?? null,
      edges.at(-1)?.cursor ?? null,
    ]);
    return [seqs.at(0), seqs.at(-1), pageInfo.hasPreviousPage, pageInfo.hasNextPage];
  };
  expect(await page('')).toEqual([1, 10, false, false]);
  expect(await page('', 70)).toEqual([21, 70, true, false]);
  expect(await page('(first: 3)')).toEqual([1, 3, false, true]);
  expect(await page(`(first: 3, after: "${id}:3")`)).toEqual([4, 6, true, true]);
  expect(await page(`(first: 3, after: "${id}:9")`)).toEqual([10, 10, true, false]);
  expect(await page(`(first: 3, after: "${id}:10")`)).toEqual([undefined, undefined, true, false]);
  expect(await page('(last: 2)')).toEqual([9, 10, true, false]);
  expect(await page(`(last: 2, before: "${id}:9")`)).toEqual([7, 8, true, true]);
  for (const args of [
    `(first: 1, after: "${id}:11")`,
    '(first: 101)',
    '(last: 0)',
    '(first: 1, last: 1)',
    `(before: "${id}:2")`,
  ])
    expect(await page(args), args).toBe('BAD_USER_INPUT');
});
