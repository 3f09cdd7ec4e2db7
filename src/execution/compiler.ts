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
  GraphQLIncludeDirective,
  type GraphQLLeafType,
  type GraphQLList,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  GraphQLSkipDirective,
  getArgumentValues,
  getDirectiveValues,
  getNamedType,
  getNullableType,
  isAbstractType,
  isLeafType,
  isListType,
  isNonNullType,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
  SchemaMetaFieldDef,
  type SelectionNode,
  type SelectionSetNode,
  TypeMetaFieldDef,
  visit,
} from 'graphql';
import { usualOf, writeLeaf } from './leaf.ts';
import { type Path, Run, type RunOptions, type Written } from './run.ts';
import { isPromise, Parts, type Text } from './text.ts';

/** An operation of a valid document, made ready to be run many times: it writes its JSON while it resolves. */
export interface Compiled {
  /** @throws ChatError where the result becomes too large */
  run(options: RunOptions): Written | Promise<Written>;
}

type Variables = Readonly<Record<string, unknown>>;

/** Writes a value that is not null. @throws what went wrong, for the place of the value */
type WriteValue = (value: unknown, run: Run, path: Path) => Text;

/** Writes an object of a known type. */
type WriteObject = (source: unknown, run: Run, path: Path | undefined) => Text;

/** One field of an object in the result, with what the document says of it in one or several places. */
interface Field {
  /** Its key as JSON, with what stands before and after it. */
  readonly head: string;
  write(source: unknown, run: Run, outer: Path | undefined): Text;
}

/** Variants of one operation that are kept: its selections differ by the variables of its directives. */
const MAX_VARIANTS = 4;

const compiled = new WeakMap<GraphQLSchema, WeakMap<OperationDefinitionNode, Compiled>>();

/**
 * Compiles an operation, once for each. What comes of a run is what `execute` of graphql-js gives, but for the texts of
 * errors about wrong results of resolvers. `info` is the same for all runs: it lacks what belongs to one.
 */
export function compile(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode): Compiled {
  const known = compiled.get(schema) ?? new WeakMap<OperationDefinitionNode, Compiled>();
  compiled.set(schema, known);
  const found = known.get(operation) ?? createCompiled(schema, document, operation);
  known.set(operation, found);
  return found;
}

function createCompiled(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode): Compiled {
  const conditions = new Set<string>();
  visit(document, {
    Directive: ({ arguments: [condition] = [] }) => {
      if (condition?.value.kind === Kind.VARIABLE) conditions.add(condition.value.name.value);
    },
  });
  const names = [...conditions];
  const variants = new Map<string, WriteObject>();

  function variantFor(variables: Variables): WriteObject {
    const key = names.map((name) => String(variables[name])).join();
    const known = variants.get(key);
    if (known) return known;
    if (variants.size >= MAX_VARIANTS) variants.clear();
    const write = compileVariant(schema, document, operation, variables);
    variants.set(key, write);
    return write;
  }

  return {
    run(options) {
      const run = new Run(options);
      try {
        const text = variantFor(run.variables)(options.root, run, undefined);
        return typeof text === 'string' ? run.end(text) : text.then(run.end).catch(run.endWith);
      } catch (error) {
        return run.endWith(error);
      }
    },
  };
}

/** @param conditions variables, of which those of the directives are the same for all runs */
function compileVariant(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  conditions: Variables,
): WriteObject {
  const fragments: Record<string, FragmentDefinitionNode> = Object.create(null);
  for (const one of document.definitions) if (one.kind === Kind.FRAGMENT_DEFINITION) fragments[one.name.value] = one;
  /** What writes objects, by their type and the fields that select from them: fragments may be spread in many places. */
  const writers = new Map<string, WriteObject>();
  const numbers = new Map<FieldNode, number>();

  function isIncluded(node: SelectionNode): boolean {
    return (
      getDirectiveValues(GraphQLSkipDirective, node, conditions)?.if !== true &&
      getDirectiveValues(GraphQLIncludeDirective, node, conditions)?.if !== false
    );
  }

  function isOf(type: GraphQLObjectType, name: string | undefined): boolean {
    const condition = name === undefined ? type : schema.getType(name);
    return condition === type || (isAbstractType(condition) && schema.isSubType(condition, type));
  }

  /** Gathers the fields that a selection has for a type (GraphQL specification, section 6.3.2). */
  function collect(
    type: GraphQLObjectType,
    { selections }: SelectionSetNode,
    fields: Map<string, FieldNode[]>,
    spread: Set<string>,
  ): void {
    for (const node of selections) {
      const name = node.kind === Kind.FRAGMENT_SPREAD ? node.name.value : null;
      if ((name !== null && spread.has(name)) || !isIncluded(node)) continue;
      if (node.kind === Kind.FIELD) {
        const key = (node.alias ?? node.name).value;
        const nodes = fields.get(key);
        if (nodes) nodes.push(node);
        else fields.set(key, [node]);
        continue;
      }
      if (name !== null) spread.add(name);
      const fragment = node.kind === Kind.FRAGMENT_SPREAD ? fragments[node.name.value] : node;
      if (fragment && isOf(type, fragment.typeCondition?.name.value))
        collect(type, fragment.selectionSet, fields, spread);
    }
  }

  function compileFields(type: GraphQLObjectType, sets: readonly SelectionSetNode[]): Field[] {
    const found = new Map<string, FieldNode[]>();
    const spread = new Set<string>();
    for (const set of sets) collect(type, set, found, spread);
    const fields: Field[] = [];
    for (const [key, nodes] of found) {
      const head = `${fields.length === 0 ? '{' : ','}${JSON.stringify(key)}:`;
      const field = compileField(type, key, nodes, head);
      if (field) fields.push(field);
    }
    return fields;
  }

  function compileField(type: GraphQLObjectType, key: string, nodes: FieldNode[], head: string): Field | null {
    const [node] = nodes as [FieldNode];
    const name = node.name.value;
    if (name === '__typename') {
      const text = JSON.stringify(type.name);
      return { head, write: () => text };
    }
    const field = definitionOf(schema, type, name);
    if (!field) return null;
    const info = {
      ...{ fieldName: name, fieldNodes: nodes, returnType: field.type, parentType: type },
      ...{ schema, fragments, operation },
    } as unknown as GraphQLResolveInfo;
    const nullable = !isNonNullType(field.type);
    const { resolve = defaultFieldResolver } = field;
    const argumentsFor = compileArguments(field, node);
    const writeValue = compileValue(field.type, info);
    const sliced = isWorkedFor(type, field);

    function settle(value: unknown, run: Run, path: Path): Text {
      const text = isPromise(value) ? value.then((made) => writeValue(made, run, path)) : writeValue(value, run, path);
      return typeof text === 'string' ? text : text.then(undefined, (error) => run.fail(error, nodes, path, nullable));
    }

    function write(source: unknown, run: Run, outer: Path | undefined): Text {
      const path = { outer, key };
      try {
        const call = () => resolve(source, argumentsFor(run.variables), run.context, info);
        const turn = sliced && run.costly ? run.slice() : null;
        return settle(turn ? turn.then(call) : call(), run, path);
      } catch (error) {
        return run.fail(error, nodes, path, nullable);
      }
    }

    const leaf = getNullableType(field.type);
    if (field.resolve || !isLeafType(leaf)) return { head, write };
    const writeUsual = usualOf(leaf);
    return {
      head,
      // The most frequent by far: a property that is what its type wants.
      write(source, run, outer) {
        if (typeof source !== 'object' || source === null) return write(source, run, outer);
        try {
          const value = (source as Variables)[name];
          if (value === null && nullable) return 'null';
          if (typeof value === 'function') return write(source, run, outer);
          const text = writeUsual(value);
          if (text === null) return settle(value, run, { outer, key });
          run.count(text.length);
          return text;
        } catch (error) {
          return run.fail(error, nodes, { outer, key }, nullable);
        }
      },
    };
  }

  /** What writes a value of any type, and refuses null where there may be none. */
  function compileValue(type: GraphQLOutputType, info: GraphQLResolveInfo): WriteValue {
    const writeValue = compileNonNull(getNullableType(type), info);
    const nullable = !isNonNullType(type);
    return (value, run, path) => {
      if (value !== null && value !== undefined) return writeValue(value, run, path);
      if (nullable) return 'null';
      throw new Error(`Cannot return null for non-nullable field ${info.parentType.name}.${info.fieldName}.`);
    };
  }

  function compileNonNull(type: GraphQLOutputType, info: GraphQLResolveInfo): WriteValue {
    if (isLeafType(type)) return compileLeaf(type);
    const write = isListType(type)
      ? compileList(type, info)
      : isAbstractType(type)
        ? compileAbstract(type, info)
        : compileObject(type as GraphQLObjectType, info);
    return (value, run, path) => {
      if (value instanceof Error) throw value;
      return write(value, run, path);
    };
  }

  function compileLeaf(type: GraphQLLeafType): WriteValue {
    const writeUsual = usualOf(type);
    return (value, run) => {
      const text = writeUsual(value) ?? writeLeaf(type, value);
      run.count(text.length);
      return text;
    };
  }

  function compileList({ ofType }: GraphQLList<GraphQLOutputType>, info: GraphQLResolveInfo): WriteValue {
    const nullable = !isNonNullType(ofType);
    const writeValue = compileValue(ofType, info);

    function writeElement(value: unknown, run: Run, path: Path): Text {
      try {
        const text = isPromise(value)
          ? value.then((made) => writeValue(made, run, path))
          : writeValue(value, run, path);
        return typeof text === 'string'
          ? text
          : text.then(undefined, (error) => run.fail(error, info.fieldNodes, path, nullable));
      } catch (error) {
        return run.fail(error, info.fieldNodes, path, nullable);
      }
    }

    /** Writes a list from one of its elements on; a long one with turns for others in between. */
    function writeFrom(start: number, elements: readonly unknown[], run: Run, outer: Path): Text {
      const parts = new Parts(start === 0 ? '[' : '');
      try {
        for (let key = start; key < elements.length; key++) {
          const turn = key > start ? run.pause() : null;
          if (turn) {
            parts.add(turn.then(() => writeFrom(key, elements, run, outer)));
            return parts.join();
          }
          if (key > 0) parts.add(',');
          run.count(1);
          parts.add(writeElement(elements[key], run, { outer, key }));
        }
      } catch (error) {
        return parts.fail(error);
      }
      parts.add(']');
      return parts.join();
    }

    return (value, run, path) => {
      if (typeof value === 'object' && value !== null && Symbol.iterator in value)
        return writeFrom(0, Array.isArray(value) ? value : [...(value as Iterable<unknown>)], run, path);
      const { parentType, fieldName } = info;
      throw new GraphQLError(`Expected Iterable, but did not find one for field "${parentType.name}.${fieldName}".`);
    };
  }

  function compileAbstract(type: GraphQLAbstractType, info: GraphQLResolveInfo): WriteValue {
    const resolveType = type.resolveType ?? defaultTypeResolver;
    const byName = new Map<unknown, WriteObject>(
      schema.getPossibleTypes(type).map((possible) => [possible.name, compileObject(possible, info)]),
    );
    return (value, run, path) => {
      const writeAs = (name: unknown): Text => {
        const write = byName.get(name);
        if (write) return write(value, run, path);
        throw new Error(`"${type.name}" was resolved to "${name}", which is none of its types.`);
      };
      const name = resolveType(value, run.context, info, type);
      return isPromise(name) ? name.then(writeAs) : writeAs(name);
    };
  }

  function compileObject(type: GraphQLObjectType, { fieldNodes }: GraphQLResolveInfo): WriteObject {
    for (const node of fieldNodes) if (!numbers.has(node)) numbers.set(node, numbers.size);
    const key = `${type.name} ${fieldNodes.map((node) => numbers.get(node)).join()}`;
    const known = writers.get(key);
    if (known) return known;
    const sets = fieldNodes.flatMap(({ selectionSet }) => selectionSet ?? []);
    const write = compileSelection(type, sets, writeFields);
    writers.set(key, write);
    return write;
  }

  /** What is selected is looked at when it is first asked for: of some types there may be no object ever. */
  function compileSelection(
    type: GraphQLObjectType,
    sets: readonly SelectionSetNode[],
    writeAll: (fields: readonly Field[], source: unknown, run: Run, path: Path | undefined) => Text,
  ): WriteObject {
    let fields: readonly Field[] | null = null;
    let length = 0;
    return (source, run, path) => {
      if (fields === null) {
        fields = compileFields(type, sets);
        length = fields.reduce((sum, { head }) => sum + head.length, 1);
      }
      run.count(length);
      return fields.length === 0 ? '{}' : writeAll(fields, source, run, path);
    };
  }

  const root = schema.getRootType(operation.operation);
  if (!root) throw new Error(`there is no ${operation.operation} in the schema`);
  const writeRoot = operation.operation === OperationTypeNode.MUTATION ? writeSerially : writeFields;
  return compileSelection(root, [operation.selectionSet], writeRoot);
}

function writeFields(fields: readonly Field[], source: unknown, run: Run, path: Path | undefined): Text {
  const parts = new Parts('');
  try {
    for (const field of fields) {
      parts.add(field.head);
      parts.add(field.write(source, run, path));
    }
  } catch (error) {
    return parts.fail(error);
  }
  parts.add('}');
  return parts.join();
}

/** Writes each field when the one before has ended. */
function writeSerially(
  fields: readonly Field[],
  source: unknown,
  run: Run,
  path: Path | undefined,
  start = 0,
  before = '',
): Text {
  let text = before;
  for (let i = start; i < fields.length; i++) {
    const { head, write } = fields[i] as Field;
    const made = write(source, run, path);
    if (typeof made !== 'string')
      return made.then((end) => writeSerially(fields, source, run, path, i + 1, text + head + end));
    text += head + made;
  }
  return `${text}}`;
}

function definitionOf(schema: GraphQLSchema, type: GraphQLObjectType, name: string) {
  const isQuery = type === schema.getQueryType();
  const meta = isQuery ? [SchemaMetaFieldDef, TypeMetaFieldDef].find((field) => field.name === name) : undefined;
  return meta ?? type.getFields()[name];
}

/** The arguments of each run: coerced once where they are the same for all, and nothing in them could be changed. */
function compileArguments(field: GraphQLField<unknown, unknown>, node: FieldNode): (variables: Variables) => Variables {
  const given = node.arguments ?? [];
  const isFixed = given.every(
    ({ value: { kind } }) => kind !== Kind.VARIABLE && kind !== Kind.LIST && kind !== Kind.OBJECT,
  );
  if (!isFixed) return (variables) => getArgumentValues(field, node, variables);
  let values: Variables | null = null;
  return () => {
    values ??= Object.freeze(getArgumentValues(field, node));
    return values;
  };
}

/** Whether a resolver may work long for a field; it does not for ids and switches. */
function isWorkedFor({ name }: GraphQLObjectType, { resolve, type }: GraphQLField<unknown, unknown>): boolean {
  const named = getNamedType(type);
  return resolve !== undefined && !name.startsWith('__') && named !== GraphQLID && named !== GraphQLBoolean;
}
