import {
  type DocumentNode,
  defaultFieldResolver,
  defaultTypeResolver,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLAbstractType,
  GraphQLBoolean,
  GraphQLError,
  type GraphQLField,
  GraphQLID,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  getArgumentValues,
  getNamedType,
  getNullableType,
  isAbstractType,
  isLeafType,
  isListType,
  isNonNullType,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
  print,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
} from 'graphql';
import { collectFields } from './fields.ts';
import { leafWriter } from './leaf.ts';
import { type Path, Run, type RunOptions, type Written } from './run.ts';
import { Parts, type Text } from './text.ts';

/** Runs an operation. @throws ChatError if the result becomes too large */
export type Compiled = (options: RunOptions) => Written | Promise<Written>;

type Variables = RunOptions['variables'];

/** Writes a value, a null, an error, or the value of a promise. @throws if the value is null and must not be */
type Write = (value: unknown, run: Run, path: Path) => Text;

/** Writes an object of a known type. */
type WriteObject = (source: unknown, run: Run, path: Path | undefined) => Text;

/** One field of an object in the result, merged from its places in the document. */
interface Field {
  /** Its key as JSON, with the punctuation around it. */
  readonly head: string;
  readonly write: WriteObject;
}

type WriteAll = (fields: readonly Field[], ...object: Parameters<WriteObject>) => Text;

type Selecting = Pick<FieldNode, 'selectionSet'>;

/** Cached variants of one operation: its selection depends on the variables in its directives. */
const MAX_VARIANTS = 4;

/**
 * Compiles an operation of a valid document, to run many times. A run writes JSON while it resolves. The result equals
 * that of `execute` of graphql-js, except for the messages of errors on faults of resolvers. The `info` of resolvers is
 * the same for all runs: it lacks the values of a single run.
 */
export function compile(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode): Compiled {
  const booleans = (operation.variableDefinitions ?? [])
    .filter(({ type }) => print(type).startsWith('Boolean'))
    .map(({ variable }) => variable.name.value);
  const variants = new Map<string, WriteObject>();

  function variantFor(variables: Variables): WriteObject {
    const key = booleans.map((name) => String(variables[name])).join();
    const known = variants.get(key);
    if (known) return known;
    if (variants.size >= MAX_VARIANTS) variants.clear();
    const values = Object.entries(variables).filter(([name]) => booleans.includes(name));
    const variant = compileVariant(schema, document, operation, Object.fromEntries(values));
    variants.set(key, variant);
    return variant;
  }

  return (options) => {
    const run = new Run(options);
    try {
      const text = variantFor(options.variables)(options.root, run, undefined);
      return typeof text === 'string' ? run.end(text) : text.then(run.end, run.endWith);
    } catch (error) {
      return run.endWith(error);
    }
  };
}

/** @param variables the Boolean ones, which are the same in all runs of a variant */
function compileVariant(
  schema: GraphQLSchema,
  { definitions }: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Variables,
): WriteObject {
  const fragments: Record<string, FragmentDefinitionNode> = Object.create(null);
  for (const one of definitions) if (one.kind === Kind.FRAGMENT_DEFINITION) fragments[one.name.value] = one;
  /** Cached by type and the fields that select from it: a fragment may be spread in many places. */
  const objects = new Map<string, WriteObject>();
  const numbers = new Map<Selecting, number>();

  function compileField(type: GraphQLObjectType, key: string, nodes: readonly FieldNode[]): WriteObject {
    const [node] = nodes as [FieldNode];
    const name = node.name.value;
    if (name === '__typename') return () => `"${type.name}"`;
    const field = fieldOf(schema, type, name);
    const info = {
      ...{ fieldName: name, fieldNodes: nodes, returnType: field.type, parentType: type },
      ...{ schema, fragments, operation },
    } as unknown as GraphQLResolveInfo;
    const { resolve = defaultFieldResolver } = field;
    const argumentsFor = compileArguments(field, node);
    const write = compileValue(field.type, info);
    const isSlow = mayBeSlow(type, field);
    const call = (source: unknown, { options: { variables, context } }: Run) =>
      resolve(source, argumentsFor(variables), context, info);
    return (source, run, outer) => {
      const path = { outer, key };
      const turn = isSlow && run.options.sliceFields ? run.options.slice() : null;
      try {
        return write(turn ? turn.then(() => call(source, run)) : call(source, run), run, path);
      } catch (error) {
        return run.fail(error, nodes, path, !isNonNullType(field.type));
      }
    };
  }

  function compileValue(type: GraphQLOutputType, info: GraphQLResolveInfo): Write {
    const nullable = !isNonNullType(type);
    const writeValue = compileNonNull(getNullableType(type), info);
    const writeSettled: Write = (value, run, path) => {
      if (value instanceof Error) throw value;
      if (value !== null && value !== undefined) return writeValue(value, run, path);
      if (nullable) return 'null';
      throw new Error(`Cannot return null for non-nullable field ${info.parentType.name}.${info.fieldName}.`);
    };
    return (value, run, path) => {
      try {
        const text =
          value instanceof Promise
            ? value.then((made) => writeSettled(made, run, path))
            : writeSettled(value, run, path);
        if (typeof text === 'string') return text;
        const later = text.then(undefined, (error) => run.fail(error, info.fieldNodes, path, nullable));
        // The parent may fail first and not wait: another field failed, or the result became too large.
        later.catch(() => {});
        return later;
      } catch (error) {
        return run.fail(error, info.fieldNodes, path, nullable);
      }
    };
  }

  function compileNonNull(type: GraphQLOutputType, info: GraphQLResolveInfo): Write {
    if (isLeafType(type)) return leafWriter(type);
    if (isListType(type)) return compileList(type.ofType, info);
    if (isAbstractType(type)) return compileAbstract(type, info);
    return compileObject(type as GraphQLObjectType, info.fieldNodes, writeFields);
  }

  function compileList(type: GraphQLOutputType, info: GraphQLResolveInfo): Write {
    const write = compileValue(type, info);
    /** Writes a list from one of its elements on; a long list in slices. */
    function writeFrom(start: number, elements: readonly unknown[], run: Run, outer: Path): Text {
      const parts = new Parts();
      for (let key = start; key < elements.length; key++) {
        const turn = key > start ? run.pause() : null;
        if (turn) {
          parts.add(turn.then(() => writeFrom(key, elements, run, outer)));
          return parts.join();
        }
        run.count(1);
        parts.add(key === 0 ? '[' : ',');
        parts.add(write(elements[key], run, { outer, key }));
      }
      parts.add(']');
      return parts.join();
    }
    return (value, run, path) => {
      if (typeof value !== 'object' || value === null || !(Symbol.iterator in value)) {
        const name = `${info.parentType.name}.${info.fieldName}`;
        throw new GraphQLError(`Expected Iterable, but did not find one for field "${name}".`);
      }
      const elements = [...(value as Iterable<unknown>)];
      return elements.length === 0 ? '[]' : writeFrom(0, elements, run, path);
    };
  }

  function compileAbstract(type: GraphQLAbstractType, info: GraphQLResolveInfo): Write {
    const possible = schema
      .getPossibleTypes(type)
      .map((one) => [one.name, compileObject(one, info.fieldNodes, writeFields)] as const);
    const byName = new Map<unknown, WriteObject>(possible);
    const resolveType = type.resolveType ?? defaultTypeResolver;
    return (value, run, path) => {
      const writeAs = (name: unknown): Text => {
        const write = byName.get(name);
        if (!write)
          throw new Error(`Abstract type "${type.name}" was resolved to "${name}", which is none of its types.`);
        return write(value, run, path);
      };
      const name = resolveType(value, run.options.context, info, type);
      return name instanceof Promise ? name.then(writeAs) : writeAs(name);
    };
  }

  /** Compiles the selection of a type on first use: many types have no object in the result. */
  function compileObject(type: GraphQLObjectType, nodes: readonly Selecting[], writeAll: WriteAll): WriteObject {
    for (const node of nodes) if (!numbers.has(node)) numbers.set(node, numbers.size);
    const key = `${type.name} ${nodes.map((node) => numbers.get(node)).join()}`;
    let fields: readonly Field[] | null = null;
    const write: WriteObject = (source, run, path) => {
      fields ??= compileFields(type, nodes);
      return fields.length === 0 ? '{}' : writeAll(fields, source, run, path);
    };
    const known = objects.get(key) ?? write;
    objects.set(key, known);
    return known;
  }

  function compileFields(type: GraphQLObjectType, nodes: readonly Selecting[]): Field[] {
    const selections = nodes.flatMap(({ selectionSet }) => selectionSet?.selections ?? []);
    return [...collectFields(schema, fragments, variables, type, selections)].map(([key, merged], i) => ({
      head: `${i === 0 ? '{' : ','}${JSON.stringify(key)}:`,
      write: compileField(type, key, merged),
    }));
  }

  const root = schema.getRootType(operation.operation);
  if (!root) throw new Error(`The schema has no ${operation.operation}.`);
  return compileObject(
    root,
    [operation],
    operation.operation === OperationTypeNode.MUTATION ? writeSerially : writeFields,
  );
}

function writeFields(fields: readonly Field[], source: unknown, run: Run, path: Path | undefined): Text {
  const parts = new Parts();
  for (const { head, write } of fields) {
    run.count(head.length);
    parts.add(head);
    parts.add(write(source, run, path));
  }
  parts.add('}');
  return parts.join();
}

/** Runs the fields in series. */
async function writeSerially(fields: readonly Field[], source: unknown, run: Run, path: Path | undefined) {
  let text = '';
  for (const { head, write } of fields) text += head + (await write(source, run, path));
  return `${text}}`;
}

function fieldOf(schema: GraphQLSchema, type: GraphQLObjectType, name: string): GraphQLField<unknown, unknown> {
  const meta = type === schema.getQueryType() ? [SchemaMetaFieldDef, TypeMetaFieldDef] : [];
  const field = meta.find((one) => one.name === name) ?? type.getFields()[name];
  if (!field) throw new Error(`${type.name} has no field ${name}.`);
  return field;
}

/** The arguments for each run: one object for all runs if they are constant and immutable. */
function compileArguments(field: GraphQLField<unknown, unknown>, node: FieldNode): (variables: Variables) => Variables {
  const changing: string[] = [Kind.VARIABLE, Kind.LIST, Kind.OBJECT];
  if (node.arguments?.some(({ value }) => changing.includes(value.kind)))
    return (variables) => getArgumentValues(field, node, variables);
  const values = Object.freeze(getArgumentValues(field, node));
  return () => values;
}

/** True if the resolver of a field may be slow; IDs, Booleans and introspection are not. */
function mayBeSlow({ name }: GraphQLObjectType, { resolve, type }: GraphQLField<unknown, unknown>): boolean {
  const named = getNamedType(type);
  return resolve !== undefined && named !== GraphQLID && named !== GraphQLBoolean && !name.startsWith('__');
}
