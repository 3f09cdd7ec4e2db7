import { once } from 'node:events';
import { type Document, MongoClient } from 'mongodb';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { inject } from 'vitest';
import type { Mongod } from './mongod.ts';

export interface ReplicaSet {
  /** A connection string for this database. */
  uri(database: string): string;
  /** The process that is primary now, once there is one. */
  primary(): Promise<Member>;
  members(): Member[];
  /** Runs an admin command on the primary. */
  admin(command: Document): Promise<Document>;
  stop(): Promise<void>;
}

interface Member {
  readonly port: number;
  /** `SIGKILL`, `SIGSTOP`, `SIGCONT`. */
  signal(signal: NodeJS.Signals): void;
  /** Starts it again after it was killed. */
  restart(): Promise<void>;
  /** Runs an admin command on this very member. */
  admin(command: Document): Promise<Document>;
}

/** A real replica set of this many mongods, quick to elect. */
export async function startReplicaSet(
  count: number,
  args: string[] = [],
  mongod: Mongod | null = inject('mongod'),
): Promise<ReplicaSet> {
  if (!mongod) throw new Error('there is no mongod');
  const set = await MongoMemoryReplSet.create({
    binary: { systemBinary: mongod.binary, version: mongod.version },
    instanceOpts: Array.from({ length: count }, () => ({
      args: ['--setParameter', 'enableTestCommands=1', ...args],
      launchTimeout: 60_000,
    })),
    replSet: {
      count,
      storageEngine: 'wiredTiger',
      configSettings: {
        ...{
          electionTimeoutMillis: 1000,
          heartbeatIntervalMillis: 200,
          heartbeatTimeoutSecs: 2,
          chainingAllowed: false,
        },
      },
    },
  });
  const uri = (database: string) => set.getUri(database);
  const members = (): Member[] =>
    set.servers.map((server) => {
      const child = server.instanceInfo?.instance.mongodProcess;
      const port = server.instanceInfo?.port ?? 0;
      return {
        port,
        signal: (signal) => child?.kill(signal),
        async restart() {
          if (child && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
          await server.stop({ doCleanup: false });
          await server.start(true);
        },
        admin: runIn(`mongodb://127.0.0.1:${port}/?directConnection=true`),
      };
    });
  const admin = runIn(uri('admin'));
  return {
    uri,
    members,
    async primary() {
      const { primary } = await admin({ isMaster: 1 });
      const found = members().find(({ port }) => String(primary).endsWith(`:${port}`));
      if (!found) throw new Error(`no primary among ${JSON.stringify(members())}`);
      return found;
    },
    admin,
    async stop() {
      for (const member of members()) member.signal('SIGCONT');
      await set.stop();
    },
  };
}

function runIn(url: string): (command: Document) => Promise<Document> {
  return async (command) => {
    const client = await MongoClient.connect(url, { serverSelectionTimeoutMS: 20_000 });
    try {
      return await client.db('admin').command(command);
    } finally {
      await client.close();
    }
  };
}
