import { serverAudits } from 'graphql-http';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { startServer, type TestServer } from '../../support/server.ts';

describe('GraphQL over HTTP passes the audit of its reference implementation', () => {
  const ends: (() => Promise<void>)[] = [];
  let server: TestServer | undefined;
  beforeEach(async () => {
    server ??= await startServer({ INTROSPECTION: 'on' }, { whenDone: (end) => ends.push(end) });
  });
  afterAll(() => Promise.all(ends.map((end) => end())));

  const audits = serverAudits({ url: () => `${server?.url}/graphql` });
  test.each(audits.map(({ id, name, fn }) => [`${id}: ${name}`, fn] as const))('%s', async (_, audit) => {
    const result = await audit();
    // An audit has a reason only if it failed.
    expect({ reason: null, ...result }).toMatchObject({ reason: null, status: 'ok' });
  });
});
