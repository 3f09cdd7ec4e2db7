/**
 * Kredichat without the record, to be compared with: messages are stored without salts, and nothing is registered,
 * sealed or signed. What remains is to draw the salts, less than a microsecond for each.
 */
import type { openStore } from '../../src/commands/open-store.ts';
import type { readConfig } from '../../src/config.ts';
import type { Message } from '../../src/model.ts';
import type { createLogger } from '../../src/observability/logger.ts';
import type { createServer } from '../../src/server.ts';
import type { Store } from '../../src/store/store.ts';

/** What is measured is the build. */
const built = async <Module>(path: string): Promise<Module> =>
  import(new URL(`../../dist/${path}`, import.meta.url).href);
const { openStore: open } = await built<{ openStore: typeof openStore }>('commands/open-store.js');
const { readConfig: read } = await built<{ readConfig: typeof readConfig }>('config.js');
const { createLogger: log } = await built<{ createLogger: typeof createLogger }>('observability/logger.js');
const { createServer: create } = await built<{ createServer: typeof createServer }>('server.js');

function withoutRecord(store: Store): Store {
  return {
    ...store,
    async write(write) {
      for (const message of [...write.messages, ...write.changed])
        (message as { record: Message['record'] }).record = null;
      return store.write(write);
    },
    unregistered: async () => [],
    unsealed: async () => [],
  };
}

const config = read(process.env);
const store = withoutRecord(await open(config.store));
const server = create({ config, store, logger: log(config.logLevel, process.stderr) });
console.log(await server.listen());
process.once('SIGTERM', async () => {
  await server.close();
  await store.close();
  process.exit();
});
