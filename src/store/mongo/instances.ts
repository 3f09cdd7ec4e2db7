import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Collection, Db } from 'mongodb';
import type { Message } from '../../model.ts';
import { version } from '../../version.ts';

/** Interval of heartbeats, in milliseconds. */
const HEARTBEAT_MS = 10_000;
/** An instance counts as live until its last heartbeat is this old, in seconds. */
const LIVE_SECONDS = 60;

/**
 * What this program stores that an older one cannot read or would lose. A feature is written only while every live
 * instance knows it.
 *
 * - `origin`: the origin of a message that was moved in. A program without it drops the origin when it edits the
 *   message.
 * - `record`: the salts of a message, which a program without it drops likewise.
 */
const FEATURES = ['origin', 'record'] as const;
type Feature = (typeof FEATURES)[number];

/** A process that has the store open. */
export interface Instance {
  /** `HOST/PROCESS/` and a random suffix. */
  readonly _id: string;
  readonly version: string;
}

interface InstanceDocument extends Instance {
  readonly features: readonly string[];
  /** Time of the last heartbeat, by the clock of the server. */
  readonly at: Date;
}

export interface Instances {
  /** Those that are live, this one included, in the order of their ids. */
  live(): Promise<Instance[]>;
  /** @throws Error that names a live instance without a feature that the messages need */
  requireFeatures(messages: readonly Pick<Message, 'origin'>[]): Promise<void>;
  /** Whether every live instance knows a feature. */
  allKnow(feature: Feature): Promise<boolean>;
  /** Ends the heartbeats and removes the document of this process. */
  close(): Promise<void>;
}

/** Registers this process in the collection `instances`, which MongoDB clears of instances that were killed. */
export async function registerInstance(db: Db, onError: (error: unknown) => void): Promise<Instances> {
  const instances: Collection<InstanceDocument> = db.collection('instances');
  const _id = `${hostname()}/${process.pid}/${randomUUID().slice(0, 8)}`;
  const isLive = { $expr: { $gt: ['$at', { $subtract: ['$$NOW', LIVE_SECONDS * 1000] }] } };

  const beat = () =>
    instances.updateOne(
      { _id },
      { $set: { version, features: FEATURES }, $currentDate: { at: true } },
      { upsert: true },
    );
  await instances.createIndex({ at: 1 }, { expireAfterSeconds: LIVE_SECONDS });
  await beat();
  let beating: Promise<unknown> = Promise.resolve();
  const timer = setInterval(() => {
    beating = beat().catch(onError);
  }, HEARTBEAT_MS).unref();

  const without = (feature: Feature) => instances.findOne({ ...isLive, features: { $ne: feature } });

  return {
    live: () => instances.find(isLive, { projection: { version: 1 }, sort: { _id: 1 } }).toArray(),

    async requireFeatures(messages) {
      if (messages.every(({ origin }) => origin === null)) return;
      const older = await without('origin');
      if (older)
        throw new Error(
          `instance ${older._id} of version ${older.version} would lose the origin of messages that are moved in: ` +
            'upgrade or stop every instance first',
        );
    },

    async allKnow(feature) {
      return (await without(feature)) === null;
    },

    async close() {
      clearInterval(timer);
      // Both at once: while MongoDB is away each takes seconds, and a stop has few.
      await Promise.all([beating, instances.deleteOne({ _id }).catch(onError)]);
    },
  };
}
