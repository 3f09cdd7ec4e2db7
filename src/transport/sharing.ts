import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
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
  /** By event, which all followers of a conversation see as one object as long as they keep up. */
  readonly #results = new WeakMap<object, ExecutionResult | Promise<ExecutionResult>>();
  readonly #json = new WeakMap<ExecutionResult, Buffer>();

  constructor(contextValue: Context, end: () => void) {
    this.#contextValue = contextValue;
    this.#end = end;
  }

  result(event: object, args: ExecutionArgs, masked: Masked): ExecutionResult | Promise<ExecutionResult> {
    return getOrMake(this.#results, event, () =>
      executeEvent(event, { ...args, contextValue: this.#contextValue }, masked),
    );
  }

  json(result: ExecutionResult): Buffer {
    return getOrMake(this.#json, result, () => Buffer.from(JSON.stringify(result)));
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
  const variablesOf = new WeakMap<DocumentNode, Map<string, readonly string[] | null>>();
  const operations = new WeakMap<DocumentNode, Map<string, Operation>>();

  /** The variables that a result depends on beside its event; null where it depends on the viewer. */
  function variables(document: DocumentNode, name: string): readonly string[] | null {
    const known = getOrMake(variablesOf, document, () => new Map());
    let found = known.get(name);
    if (found === undefined) {
      found = dependencies(schema, separateOperations(document)[name] ?? document);
      known.set(name, found);
    }
    return found;
  }

  return {
    join({ document, operationName, variableValues, contextValue }) {
      const name = operationName ?? getOperationAST(document)?.name?.value ?? '';
      const names = variables(document, name);
      if (!names) return null;
      // Null is a value; what is absent may have a default.
      const values = names.map((variable) =>
        variableValues && variable in variableValues ? [variableValues[variable]] : 0,
      );
      const key = JSON.stringify([name, values]);
      const known = getOrMake(operations, document, () => new Map<string, Operation>());
      const operation =
        known.get(key) ?? new Operation(forNobody(contextValue as Context), () => void known.delete(key));
      known.set(key, operation);
      operation.subscribers++;
      return operation;
    },
  };
}

function getOrMake<Key extends object, Value>(map: WeakMap<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

function dependencies(schema: GraphQLSchema, document: DocumentNode): readonly string[] | null {
  const typeInfo = new TypeInfo(schema);
  const names = new Set<string>();
  let perViewer = false;
  visit(
    document,
    visitWithTypeInfo(typeInfo, {
      Field() {
        perViewer ||=
          typeInfo.getFieldDef()?.astNode?.directives?.some(({ name }) => name.value === 'perViewer') === true;
      },
      Variable({ name }) {
        const parent = typeInfo.getParentType();
        // Definitions have no parent; the arguments of the root field choose the events, and are done with.
        if (parent && (parent !== schema.getSubscriptionType() || typeInfo.getDirective())) names.add(name.value);
      },
    }),
  );
  return perViewer ? null : [...names];
}

/** Makes sure that what is shared depends on nobody: a field that does, and is not marked, fails loudly. */
function forNobody({ chat, drained }: Context): Context {
  return {
    chat,
    drained,
    get viewer(): never {
      throw new Error('A field that depends on the viewer is not marked @perViewer.');
    },
  };
}
