import { expect, test } from 'vitest';
import type { Connection } from '../../web/client/connection.ts';
import { KredichatError } from '../../web/client/errors.ts';
import { search } from '../../web/client/search.ts';

test('a page that failed because of the name of a conversation can be asked for again', async () => {
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
