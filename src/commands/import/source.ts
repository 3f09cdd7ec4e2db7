import { createHash } from 'node:crypto';
import { BSON, type Document, MongoClient } from 'mongodb';

/** A document of the source without its messages. */
export interface Head {
  readonly _id: unknown;
  readonly config_id?: unknown;
  readonly members?: unknown;
  readonly subject?: unknown;
  readonly party?: unknown;
  /** The different senders of its messages. */
  readonly senders: readonly unknown[];
  /** Number of its messages; null where `message` is no list. */
  readonly count: number | null;
}

/** The messages of one document, as they stood together at one time. */
export interface Messages {
  /** SHA-256 of the document (BSON), in lower-case hex. */
  readonly digest: string;
  readonly count: number;
  /** The fields of one message. @throws Error for invalid BSON, such as text that is not UTF-8 */
  at(index: number): Readonly<Record<string, unknown>>;
}

/** The collection of the older chat. It is only read. */
export interface Source {
  /** `DATABASE.COLLECTION` */
  readonly name: string;
  /** Number of documents. */
  count(): Promise<number>;
  /** All documents, in the order of `_id`. */
  heads(): AsyncIterable<Head>;
  /** Null for a document that is gone. */
  messages(id: unknown): Promise<Messages | null>;
  close(): Promise<void>;
}

/** @throws Error when the server cannot be reached */
export async function openSource(url: string, database: string, collection: string): Promise<Source> {
  const client = await MongoClient.connect(url, {
    ...{ appName: 'kredichat import', serverSelectionTimeoutMS: 10_000 },
    // A head with invalid UTF-8 would end the import: it comes with U+FFFD, which is refused.
    enableUtf8Validation: false,
  });
  const documents = client.db(database).collection<{ _id: unknown }>(collection);
  const isList = { $isArray: '$message' };
  const head = {
    ...{ config_id: 1, members: 1, subject: 1, party: 1 },
    senders: { $cond: [isList, { $setUnion: ['$message.sender', []] }, []] },
    count: { $cond: [isList, { $size: '$message' }, null] },
  };
  return {
    name: `${database}.${collection}`,
    count: () => documents.countDocuments(),
    heads: () => documents.aggregate<Head>([{ $sort: { _id: 1 } }, { $project: head }]),
    async messages(id) {
      const raw = (await documents.findOne({ _id: id as Document }, { raw: true })) as unknown as Buffer | null;
      if (!raw) return null;
      // The messages stay bytes until they are asked for: as objects, a document of 16 MB takes several times as much.
      const { message } = BSON.deserialize(raw, {
        ...{ fieldsAsRaw: { message: true }, validation: { utf8: false } },
      }) as { message?: unknown };
      const list = Array.isArray(message) ? (message as unknown[]) : [];
      const offsets = Int32Array.from(list, (entry) =>
        entry instanceof Uint8Array ? entry.byteOffset - raw.byteOffset : -1,
      );
      return {
        digest: createHash('sha256').update(raw).digest('hex'),
        count: offsets.length,
        at(index) {
          const from = offsets[index] ?? -1;
          // A BSON document begins with its length.
          return from < 0 ? {} : BSON.deserialize(raw.subarray(from, from + raw.readInt32LE(from)));
        },
      };
    },
    close: () => client.close(),
  };
}
