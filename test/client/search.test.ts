import { expect, test } from 'vitest';
import type { Connection } from '../../web/client/connection/connection.ts';
import { KredichatError } from '../../web/client/errors.ts';
import { search } from '../../web/client/search.ts';

test('a page that failed because of the name of a conversation can be requested again', async () => {
  let failing = false;
  async function run(_operation: unknown, variables: { readonly id?: string; readonly after?: string | null }) {
    if (variables.id !== undefined) {
      if (failing) throw new KredichatError('UNAVAILABLE', 'Not now.');
      return { conversation: { id: variables.id } };
    }
    const first = variables.after === null;
    const nodes = [{ conversationId: first ? 'c_1' : 'c_2' }];
    return { searchMessages: { nodes, pageInfo: { endCursor: 'end', hasNextPage: first } } };
  }
  const page = await search({ run } as unknown as Connection, 'word', {});
  failing = true;
  await expect(page.more?.()).rejects.toThrow('Not now.');
  failing = false;
  await expect(page.more?.()).resolves.toMatchObject({ hits: [{ conversation: { id: 'c_2' } }] });
});

test('hits exclude a conversation that the viewer was removed from in the meantime', async () => {
  async function run(_operation: unknown, { id }: { readonly id?: string }) {
    if (id !== undefined) return { conversation: id === 'c_1' ? null : { id } };
    const nodes = [{ conversationId: 'c_1' }, { conversationId: 'c_2' }];
    return { searchMessages: { nodes, pageInfo: { endCursor: 'end', hasNextPage: false } } };
  }
  const { hits } = await search({ run } as unknown as Connection, 'word', {});
  expect(hits.map(({ message }) => message.conversationId)).toEqual(['c_2']);
});
