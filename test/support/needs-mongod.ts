import { beforeEach, inject } from 'vitest';

// Where there is no mongod, what needs one counts as skipped, and CI takes that for a failure.
beforeEach(({ skip }) => {
  if (!inject('replicaSet')) skip();
});
