import { beforeEach, inject } from 'vitest';

// Without a mongod these tests count as skipped, which CI takes for a failure.
beforeEach(({ skip }) => {
  if (!inject('replicaSet')) skip();
});
