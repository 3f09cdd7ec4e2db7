import { expect, test } from 'vitest';
import type { ConversationId } from '../../src/model.ts';
import { entriesAfter } from '../../src/record/entries.ts';
import { entryText } from '../../src/record/entry.ts';
import type { RegisterBatch, Store } from '../../src/store/store.ts';
import { ANN, BOB, CAT, edited, message, redacted, writeOf, writeOn } from './writes.ts';

/** A batch with an H leaf of each conversation, up to this `rev`. */
function batchOf(size: number, ...registered: { conversation: ConversationId; rev: number }[]): RegisterBatch {
  const leaves = registered.map(({ conversation, rev }) => ({ leaf: `H ${conversation} ${rev}`, conversation, rev }));
  return { size, leaves, tiles: [], registered, sealed: [] };
}

/** The laws of the record, for each adapter. */
export function recordContract(store: () => Store): void {
  const { conversation: id } = writeOf('c', [ANN, BOB], 0);
  const { conversation: other } = writeOf('other', [ANN, BOB], 0);
  const waiting = async () =>
    (await store().unregistered(9)).map(({ state, registeredRev }) => [state.id, registeredRev, state.lastRev]).sort();

  test('a conversation waits from each write until it is registered up to its newest change', async () => {
    expect(await waiting()).toEqual([]);
    await store().write(writeOf('c', [ANN, BOB], 0, 2));
    expect(await waiting()).toEqual([[id, 0, 2]]);
    expect(await store().addToRegister(batchOf(0, { conversation: id, rev: 1 }))).toBe(true);
    expect(await waiting()).toEqual([[id, 1, 2]]);
    // A write after the state was read keeps the conversation waiting.
    await store().write(writeOf('c', [ANN, BOB], 2));
    expect(await store().addToRegister(batchOf(1, { conversation: id, rev: 2 }))).toBe(true);
    expect(await waiting()).toEqual([[id, 2, 3]]);
    expect(await store().addToRegister(batchOf(2, { conversation: id, rev: 3 }))).toBe(true);
    expect(await waiting()).toEqual([]);
    const changed = edited((await store().messages(id, 1, 1))[0] ?? message(id, 1), 4, 'new');
    await store().write(writeOn({ id, lastRev: 3 }, { changed: [changed] }));
    expect(await waiting()).toEqual([[id, 3, 4]]);
    await store().write(writeOf('other', [ANN, BOB], 0));
    expect(await store().unregistered(1)).toHaveLength(1);
  });

  test('of several additions to one size one is made, and the others change nothing', async () => {
    await store().write(writeOf('c', [ANN, BOB], 0));
    await store().write(writeOf('other', [ANN, BOB], 0));
    const batches = [id, other, id, other].map((conversation) => batchOf(0, { conversation, rev: 1 }));
    const made = await Promise.all(batches.map((batch) => store().addToRegister(batch)));
    expect(made.filter(Boolean)).toHaveLength(1);
    const winner = batches[made.indexOf(true)]?.leaves[0]?.conversation;
    expect(await store().leaves(0, 9)).toEqual([`H ${winner} 1`]);
    expect(await waiting()).toEqual([[winner === id ? other : id, 0, 1]]);
    expect(await store().addToRegister(batchOf(5, { conversation: id, rev: 1 }))).toBe(false);
    expect((await store().register()).size).toBe(1);
  });

  test('a read position waits from each move until it is sealed, one that is reached by joining too', async () => {
    await store().write(writeOf('c', [ANN, BOB], 0, 3));
    expect(await store().unsealed(9)).toEqual([]);
    await store().advanceReadPosition(id, BOB, 2, null, undefined, 1234);
    expect((await store().conversation(id))?.members.get(BOB)).toMatchObject({ readSeq: 2, readAt: 1234 });
    expect(await store().unsealed(9)).toEqual([{ conversation: id, reads: [[BOB, 2]] }]);
    const joins = message(id, 4, { kind: 'SYSTEM' });
    const cat = { email: CAT, joined: { at: joins.sentAt, readSeq: 4, seen: 3 }, leftAt: null };
    await store().write(writeOn({ id, lastRev: 3 }, { messages: [joins], members: [cat] }));
    const [found] = await store().unsealed(9);
    expect([...(found?.reads ?? [])].sort()).toEqual([
      [BOB, 2],
      [CAT, 4],
    ]);
    // A position that has moved since it was read is sealed as it was, and waits on.
    await store().advanceReadPosition(id, BOB, 3, null);
    const leaf = { leaf: 'R', conversation: id, rev: null };
    const sealed = found ? [found] : [];
    expect(await store().addToRegister({ size: 0, leaves: [leaf], tiles: [], registered: [], sealed })).toBe(true);
    expect(await store().unsealed(9)).toEqual([{ conversation: id, reads: [[BOB, 3]] }]);
    // A role alone, or a move backward, is no move; the time is that of the last move.
    await store().advanceReadPosition(id, BOB, 3, 'BANK', undefined, 5678);
    expect((await store().conversation(id))?.members.get(BOB)).toMatchObject({ readSeq: 3, readAt: null });
  });

  test('leaves are found by their conversation, below a size of the register', async () => {
    for (const configId of ['c', 'other']) await store().write(writeOf(configId, [ANN, BOB], 0, 5));
    await store().addToRegister(batchOf(0, { conversation: id, rev: 2 }, { conversation: other, rev: 5 }));
    const read = { leaf: 'R', conversation: id, rev: null };
    await store().addToRegister({ ...batchOf(2, { conversation: id, rev: 4 }), leaves: [read] });
    await store().addToRegister(batchOf(3, { conversation: id, rev: 4 }));
    const found = async (rev: number, size: number) => (await store().ledgerLeaf(id, rev, size))?.index;
    expect([await found(1, 9), await found(2, 9), await found(3, 9), await found(5, 9)]).toEqual([0, 0, 3, undefined]);
    expect([await found(1, 0), await found(3, 3)]).toEqual([undefined, undefined]);
    expect(await store().newestLedgerLeaf(id, 9)).toEqual({ index: 3, leaf: `H ${id} 4` });
    expect((await store().newestLedgerLeaf(id, 3))?.index).toBe(0);
    expect(await store().newestLedgerLeaf(other, 1)).toBeNull();
    expect(await store().readLeaves(id, -1, 9)).toEqual([{ index: 2, leaf: 'R' }]);
    expect(await store().readLeaves(id, 2, 9)).toEqual([]);
    expect(await store().leaves(1, 3)).toEqual([`H ${other} 5`, 'R']);
  });

  test('tiles belong to one tree, and are replaced as they grow', async () => {
    await store().write(writeOf('c', [ANN, BOB], 0));
    const tile = (log: ConversationId | null, index: number, letter: string, count: number) => ({
      ...{ log, level: 0, index, hashes: Buffer.alloc(32 * count, letter) },
    });
    const [a, b, grown] = [tile(id, 0, 'a', 1), tile(null, 0, 'b', 256), tile(id, 0, 'a', 2)];
    await store().addToRegister({ ...batchOf(0, { conversation: id, rev: 1 }), tiles: [a, b] });
    const keys = [0, 1].map((index) => ({ level: 0, index }));
    expect(await store().tiles(id, keys)).toEqual([a.hashes, null]);
    expect(await store().tiles(null, keys)).toEqual([b.hashes, null]);
    await store().addToRegister({ ...batchOf(1, { conversation: id, rev: 1 }), tiles: [grown] });
    expect(await store().tiles(id, keys)).toEqual([grown.hashes, null]);
  });

  test('the newest checkpoint stays until a larger one comes, or a fork gives a published one up', async () => {
    await store().write(writeOf('c', [ANN, BOB], 0));
    expect(await store().register()).toMatchObject({ size: 0, checkpoint: null, abandoned: null });
    await store().setCheckpoint('three', 3);
    await store().setCheckpoint('two', 2);
    expect((await store().register()).checkpoint).toBe('three');
    await store().addToRegister({ ...batchOf(0, { conversation: id, rev: 1 }), abandons: 'published' });
    expect(await store().register()).toMatchObject({ size: 1, checkpoint: null, abandoned: 'published' });
    await store().setCheckpoint('one', 1);
    expect((await store().register()).checkpoint).toBe('one');
  });

  test('messages that were changed, and SYSTEM messages, are found from a change on', async () => {
    await store().write(writeOf('c', [ANN, BOB], 0, 3));
    await store().write(writeOn({ id, lastRev: 3 }, { messages: [message(id, 4, { kind: 'SYSTEM' })] }));
    const [first, , third] = await store().messages(id, 1, 3);
    if (!first || !third) throw new Error('messages are missing');
    await store().write(writeOn({ id, lastRev: 4 }, { changed: [edited(first, 5, 'new'), redacted(third, 6)] }));
    await store().write(writeOn({ id, lastRev: 6 }, { messages: [message(id, 5, { kind: 'SYSTEM', rev: 7 })] }));
    const changed = async (afterRev: number, seq: number) =>
      (await store().changedMessages(id, afterRev, seq, 9)).map((one) => one.seq);
    expect([await changed(0, 9), await changed(5, 9), await changed(0, 2), await changed(6, 9)]).toEqual([
      ...[[1, 3], [3], [1], []],
    ]);
    const told = async (afterRev: number) => (await store().systemMessages(id, afterRev, 9)).map(({ seq }) => seq);
    expect([await told(0), await told(4), await told(7)]).toEqual([[4, 5], [5], []]);
    await store().write(writeOn({ id, lastRev: 7 }, { changed: [redacted(edited(first, 5, 'new'), 8)] }));
    // Pages, by the last change and by the addition.
    const revs = async (afterRev: number, limit: number) =>
      (await store().changedMessages(id, afterRev, 9, limit)).map(({ rev }) => rev);
    expect([await revs(0, 1), await revs(6, 1), await revs(0, 2), await revs(8, 1)]).toEqual([[6], [8], [6, 8], []]);
    const page = async (afterRev: number) => (await store().systemMessages(id, afterRev, 1)).map(({ seq }) => seq);
    expect([await page(0), await page(4), await page(7)]).toEqual([[4], [5], []]);
    const state = await store().conversation(id);
    const texts = async (afterRev: number) => {
      const found: string[] = [];
      if (state)
        for await (const page of entriesAfter(store(), state, afterRev))
          found.push(...page.map((one) => entryText(state, one)));
      return found;
    };
    const all = await texts(0);
    expect(all.map((text) => JSON.parse(text).slice(2, 5))).toEqual([
      ...[1, 2, 3, 4].map((rev) => [rev, 'ADDED', rev]),
      ...[
        [5, 'EDITED', 1],
        [6, 'REDACTED', 3],
        [7, 'ADDED', 5],
        [8, 'REDACTED', 1],
      ],
    ]);
    for (let rev = 0; rev <= 8; rev++) expect(await texts(rev)).toEqual(all.slice(rev));
  });
}
