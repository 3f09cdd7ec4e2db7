import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { afterAll, beforeAll, describe, inject } from 'vitest';
import { openMongo } from '../../src/store/mongo/mongo.ts';
import { storeContract } from './contract.ts';

const mongod = inject('mongod');

describe.runIf(mongod)('on a replica set of one', () => {
  let set: MongoMemoryReplSet;
  let databases = 0;
  beforeAll(async () => {
    set = await MongoMemoryReplSet.create({
      binary: { systemBinary: mongod?.binary ?? '', version: mongod?.version ?? '' },
      replSet: { count: 1, storageEngine: 'wiredTiger' },
    });
  });
  afterAll(() => set.stop());

  storeContract('MongoDB', () => openMongo(set.getUri(`test${++databases}`)));
});
