import { readdirSync, readFileSync } from 'node:fs';
import { makeExecutableSchema } from '@graphql-tools/schema';
import type { GraphQLSchema } from 'graphql';
import { resolvers } from './resolvers.ts';

const DIRECTORY = new URL('../../schema/', import.meta.url);

/** The served schema: the SDL files as they stand, with the resolvers. */
export function createSchema(): GraphQLSchema {
  const files = readdirSync(DIRECTORY).filter((name) => name.endsWith('.graphql'));
  const typeDefs = files.map((name) => readFileSync(new URL(name, DIRECTORY), 'utf8'));
  return makeExecutableSchema({ typeDefs, resolvers });
}
