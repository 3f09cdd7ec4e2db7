import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getOperationAST,
  separateOperations,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import type { Context } from '../operations/context.ts';

/** Hides what clients are not to see in the errors of a result. */
export type Masked = (result: ExecutionResult) => ExecutionResult;

/** One operation as many subscribers run it: executed once for each event, its JSON made once. */
export interface Shared {
  result(event: object, args: ExecutionArgs, masked: Masked): ExecutionResult | Promise<ExecutionResult>;
  json(result: ExecutionResult): Buffer;
  /** To be called once by each who joined. */
  leave(): void;
}

export interface Sharing {
  /** The operation as it is shared now; null where its result depends on who asks. */
  join(args: ExecutionArgs): Shared | null;
  /** Whether a query is about one conversation alone, and the same for all who may see that. */
  ofOneConversation(document: DocumentNode, operationName: string | null | undefined): boolean;
}

/** Executes the selection of a subscription on an event. */
export function executeEvent(
  event: object,
  args: ExecutionArgs,
  masked: Masked,
): ExecutionResult | Promise<ExecutionResult> {
  const result = execute({ ...args, rootValue: event });
  return result instanceof Promise ? result.then(masked) : masked(result);
}

class Operation implements Shared {
  subscribers = 0;
  readonly #contextValue: Context;
  readonly #end: () => void;
  /**
   * By event, which all followers of a conversation see as one object as long as they keep up. They ask in the turn
   * in which it came; after it nothing is kept, as anybody can ask for many and large results.
   */
  readonly #results = new Map<object, ExecutionResult | Promise<ExecutionResult>>();
  readonly #json = new Map<ExecutionResult, Buffer>();

  constructor(contextValue: Context, end: () => void) {
    this.#contextValue = contextValue;
    this.#end = end;
  }

  result(event: object, args: ExecutionArgs, masked: Masked): ExecutionResult | Promise<ExecutionResult> {
    if (this.#results.size === 0) setImmediate(() => this.#forget());
    return getOrMake(this.#results, event, () =>
      executeEvent(event, { ...args, contextValue: this.#contextValue }, masked),
    );
  }

  json(result: ExecutionResult): Buffer {
    return getOrMake(this.#json, result, () => Buffer.from(JSON.stringify(result)));
  }

  #forget(): void {
    this.#results.clear();
    this.#json.clear();
  }

  leave(): void {
    if (--this.subscribers === 0) this.#end();
  }
}

/**
 * Decides from the schema which subscriptions may share execution: those without a field marked `@perViewer`, for
 * all who run the same document with the same values of the variables that the result depends on.
 */
export function createSharing(schema: GraphQLSchema): Sharing {
  const dependenciesOf = new WeakMap<DocumentNode, Map<string, Dependencies>>();
  const operations = new WeakMap<DocumentNode, Map<string, Operation>>();

  function dependencies(document: DocumentNode, operationName: string | null | undefined): [string, Dependencies] {
    const name = operationName ?? getOperationAST(document)?.name?.value ?? '';
    const known = getOrMake(dependenciesOf, document, () => new Map());
    let found = known.get(name);
    if (!found) {
      found = findDependencies(schema, separateOperations(document)[name] ?? document);
      known.set(name, found);
    }
    return [name, found];
  }

  return {
    join({ document, operationName, variableValues, contextValue }) {
      const [name, { perViewer, variables }] = dependencies(document, operationName);
      if (perViewer) return null;
      // Null is a value; what is absent may have a default.
      const values = variables.map((variable) =>
        variableValues && Object.hasOwn(variableValues, variable) ? [variableValues[variable]] : 0,
      );
      const key = JSON.stringify([name, values]);
      const known = getOrMake(operations, document, () => new Map<string, Operation>());
      const operation =
        known.get(key) ?? new Operation(forNobody(contextValue as Context), () => void known.delete(key));
      known.set(key, operation);
      operation.subscribers++;
      return operation;
    },
    ofOneConversation(document, operationName) {
      const [, { perViewer, oneConversation }] = dependencies(document, operationName);
      return oneConversation && !perViewer;
    },
  };
}

function getOrMake<Key extends object, Value>(
  map: Pick<Map<Key, Value>, 'get' | 'set'> | WeakMap<Key, Value>,
  key: Key,
  make: () => Value,
): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

/** What the result of an operation depends on, as the schema marks it. */
interface Dependencies {
  /** A field depends on who asks. */
  readonly perViewer: boolean;
  /** Its one root field is about one conversation alone. */
  readonly oneConversation: boolean;
  /** Those that matter below the root field: its own arguments choose what the result is of. */
  readonly variables: readonly string[];
}

function findDependencies(schema: GraphQLSchema, document: DocumentNode): Dependencies {
  const typeInfo = new TypeInfo(schema);
  const roots = [schema.getQueryType(), schema.getSubscriptionType()];
  const variables = new Set<string>();
  const rootFields: boolean[] = [];
  let perViewer = false;
  visit(
    document,
    visitWithTypeInfo(typeInfo, {
      Field() {
        const field = typeInfo.getFieldDef();
        perViewer ||= isMarked(field, 'perViewer');
        if (roots.includes(typeInfo.getParentType() as GraphQLObjectType))
          rootFields.push(isMarked(field, 'oneConversation'));
      },
      Argument() {
        perViewer ||= isMarked(typeInfo.getArgument(), 'perViewer');
      },
      Variable({ name }) {
        const parent = typeInfo.getParentType();
        // The definitions have no parent.
        if (parent && (!roots.includes(parent as GraphQLObjectType) || typeInfo.getDirective()))
          variables.add(name.value);
      },
    }),
  );
  const oneConversation = rootFields.length === 1 && rootFields[0] === true;
  return { perViewer, oneConversation, variables: [...variables] };
}

function isMarked(element: GraphQLField<unknown, unknown> | GraphQLArgument | null | undefined, mark: string): boolean {
  return element?.astNode?.directives?.some(({ name }) => name.value === mark) ?? false;
}

function forNobody({ chat }: Context): Context {
  return {
    chat,
    drained: async () => {},
    audit() {},
    get viewer() {
      return noViewer();
    },
  };
}

/** Makes sure that what is made for many depends on nobody: a field that does, and is not marked, fails loudly. */
export function noViewer(): never {
  throw new Error('A field that depends on the viewer is not marked @perViewer.');
}
