import { join } from 'node:path';
import { newMessage } from '../src/chat/log/change-set.ts';
import { conversationId, parseEmail } from '../src/model.ts';
import type { Store } from '../src/store/store.ts';
import { termsOf } from '../src/store/tokenizer.ts';
import { makeFolder } from './servers.ts';
import { align } from './table.ts';

/** What is built: the writer's thread is started from there. */
const built = async <Module>(path: string): Promise<Module> => import(new URL(`../dist/${path}`, import.meta.url).href);

/** Messages in the store, and those of them that the viewer may see. */
const SIZE = { full: 200_000, quick: 20_000, visible: 1000 } as const;
/** In so many conversations the viewer's messages are. */
const SPREADS = [1, 20, 200, 1000];
const QUERIES = ['invoice', 'invoice approved', 'inv*', 'a*', 'w1* approved', 'nothing'];
/** Searches of each kind. */
const REPEATS = 100;
const GOAL_MS = 50;

function address(name: string) {
  const email = parseEmail(`${name}@example.com`);
  if (!email) throw new Error(`${name} makes no address`);
  return email;
}

/**
 * Texts in which the words that are looked for are common in all conversations: a search that read the others would be
 * slow.
 */
function textOf(n: number): string {
  return `Please have invoice ${n % 5000} approved, w${(n * 7919) % 1000} and w${(n * 104_729) % 3000} are attached`;
}

async function fill(
  store: Store,
  viewer: string,
  others: string,
  conversations: number,
  messages: number,
): Promise<void> {
  const sender = address('sender');
  const each = messages / conversations;
  const write = async (index: number) => {
    const members = [sender, address(viewer)].sort();
    const configId = `${others} ${index}`;
    const conversation = conversationId({ configId, members });
    for (let seq = 0; seq < each; seq += 500) {
      const head = { id: conversation, lastSeq: seq, lastRev: seq };
      const log = Array.from({ length: Math.min(500, each - seq) }, (_, i) => {
        const number = seq + i + 1;
        const text = textOf(index * each + number);
        return newMessage(head, i, { kind: 'TEXT', sender, text, sentAt: 1e12 + number });
      });
      const opening = seq === 0 ? { configId, subject: null, party: null, members } : null;
      const rest = { changed: [], state: null, members: [], roles: new Map() };
      await store.write({ conversation, afterRev: seq, opening, messages: log, ...rest });
    }
  };
  for (let i = 0; i < conversations; i += 20) {
    await Promise.all(Array.from({ length: Math.min(20, conversations - i) }, (_, j) => write(i + j)));
  }
}

/** Measures searches by a user that may read 1,000 of many messages, and returns the table. */
export async function measureSearch(quick: boolean, mongo: string | null): Promise<string> {
  const { openMongo } = await built<typeof import('../src/store/mongo/mongo.ts')>('store/mongo/mongo.js');
  const { openSqlite } = await built<typeof import('../src/store/sqlite/sqlite.ts')>('store/sqlite/sqlite.js');
  const store = await (mongo ? openMongo(mongo) : openSqlite(join(makeFolder(), 'search.db')));
  const total = quick ? SIZE.quick : SIZE.full;
  await fill(store, 'everybody', 'else', total / 200, total - SPREADS.length * SIZE.visible);
  const lines = [['conversations', 'matches', 'p50 ms', 'p99 ms', `p99 <= ${GOAL_MS} ms`]];
  for (const spread of SPREADS) {
    const reader = address(`viewer${spread}`);
    await fill(store, `viewer${spread}`, `own ${spread}`, spread, SIZE.visible);
    const search = (query: string) =>
      store.search(reader, { terms: termsOf(query), conversation: null }, { first: 20, after: null });
    // The first one brings into the index what is not there yet.
    await search('first');
    const times: number[] = [];
    let matches = 0;
    for (let i = 0; i < REPEATS; i++) {
      for (const query of QUERIES) {
        const begun = performance.now();
        const { hits } = await search(query);
        times.push(performance.now() - begun);
        matches += hits.length;
      }
    }
    times.sort((a, b) => a - b);
    const at = (share: number) => times[Math.floor(times.length * share)] ?? Number.NaN;
    lines.push([
      String(spread),
      String(matches / REPEATS),
      at(0.5).toFixed(2),
      at(0.99).toFixed(2),
      at(0.99) <= GOAL_MS ? 'met' : 'missed',
    ]);
  }
  await store.close();
  return align(`Search, ${total} messages of which the viewer may see ${SIZE.visible}`, lines);
}
