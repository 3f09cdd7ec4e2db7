// Builds dist/. Types are not checked here but by `npm test`: a first start has to wait for this.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { codegen } from '@graphql-codegen/core';
import * as schemaAst from '@graphql-codegen/schema-ast';
import * as typedDocumentNode from '@graphql-codegen/typed-document-node';
import * as typescript from '@graphql-codegen/typescript';
import * as operations from '@graphql-codegen/typescript-operations';
import * as resolvers from '@graphql-codegen/typescript-resolvers';
import { concatAST, parse } from 'graphql';
import { build, transformWithOxc } from 'vite';

const root = import.meta.dirname;
/** Written last, so that prestart.js can tell a complete build. */
const STAMP = join(root, 'dist/.built');

const parseFile = (file) => parse(readFileSync(join(root, file), 'utf8'));
const schema = concatAST(readdirSync(join(root, 'schema')).map((name) => parseFile(`schema/${name}`)));

/** Generates one file. An operation that does not fit the schema is an error. */
async function generate(filename, plugins, config, documents = []) {
  const content = await codegen({
    filename,
    schema,
    documents: documents.map((location) => ({ location, document: parseFile(location) })),
    pluginMap: plugins,
    plugins: Object.keys(plugins).map((name) => ({ [name]: {} })),
    config: { importExtension: '.ts', useTypeImports: true, enumsAsTypes: true, ...config },
  });
  const file = join(root, filename);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

/** Removes the types from a file of src/. */
async function compile(name) {
  const source = join(root, 'src', name);
  const target = join(root, 'dist', name.replace(/\.ts$/, '.js'));
  const typescript = { rewriteImportExtensions: true, onlyRemoveTypeImports: true };
  const options = { target: 'es2023', sourcemap: true, typescript };
  const { code, map } = await transformWithOxc(readFileSync(source, 'utf8'), source, options);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, `${code}//# sourceMappingURL=${basename(target)}.map\n`);
  writeFileSync(`${target}.map`, JSON.stringify({ ...map, sources: [relative(dirname(target), source)] }));
}

rmSync(STAMP, { force: true });
// Resolver types from the schema, so that the compiler finds a resolver that does not fit it.
await generate(
  'src/graphql/generated/resolvers.ts',
  { typescript, resolvers },
  {
    avoidOptionals: { field: true },
    inputMaybeValue: 'T | null',
    contextType: '../context.ts#Context',
    scalars: {
      ID: 'string',
      DateTime: { input: 'number', output: 'number' },
      EmailAddress: '../../model.ts#EmailAddress as Address',
    },
    mappers: {
      Conversation: '../../chat/message-view.ts#ConversationView',
      Member: '../../model.ts#Member as MemberModel',
      Message: '../../chat/message-view.ts#AnyMessageView',
      ChatList: '../pagination.ts#ChatListPage',
      MessageAdded: '../../chat/live/events.ts#MessageEvent',
      MessageChanged: '../../chat/live/events.ts#MessageEvent',
      ConversationEvent: '../../chat/live/events.ts#ConversationEvent as EventModel',
      MessageConnection: '../pagination.ts#MessagePage',
    },
  },
);
// The whole schema as one file, for the code generators of clients.
await generate('dist/schema.graphql', { schemaAst }, { includeDirectives: true });
// The error codes, for the client.
await generate('web/client/generated/enums.ts', { typescript }, { onlyEnums: true });
// The client's operations as texts that know their types.
await generate(
  'web/client/generated/operations.ts',
  { operations, typedDocumentNode },
  {
    documentMode: 'string',
    skipTypename: true,
    scalars: { ID: 'string', DateTime: 'string', EmailAddress: 'string' },
  },
  ['web/client/operations.graphql'],
);
// The client with its declarations takes the longest: a process of its own does that meanwhile.
const tsc = spawn(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'web/tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
const [[code]] = await Promise.all([
  once(tsc, 'close'),
  ...readdirSync(join(root, 'src'), { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .map(compile),
  build({ root: join(root, 'web'), logLevel: 'warn' }),
]);
if (code !== 0) process.exit(1);
writeFileSync(STAMP, '');
