import { readdirSync, readFileSync } from 'node:fs';
import { makeExecutableSchema } from '@graphql-tools/schema';
import type { GraphQLSchema } from 'graphql';
import { guard } from './guard.ts';
import { resolvers } from './resolvers.ts';
import { scalars } from './scalars.ts';

const DIRECTORY = new URL('../../schema/', import.meta.url);

/** The served schema: the SDL files as they stand, with the resolvers behind the access table. */
export function createSchema(): GraphQLSchema {
  const files = readdirSync(DIRECTORY).filter((name) => name.endsWith('.graphql'));
  const typeDefs = files.map((name) => readFileSync(new URL(name, DIRECTORY), 'utf8'));
  const schema = makeExecutableSchema({ typeDefs, resolvers });
  // As resolvers, scalars would lose the descriptions they have in the SDL.
  for (const [name, functions] of Object.entries(scalars)) Object.assign(schema.getType(name) ?? {}, functions);
  guard(schema);
  return schema;
}
