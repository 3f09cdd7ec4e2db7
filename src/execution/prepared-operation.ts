import {
  type DocumentNode,
  type GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  Kind,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  type OperationTypeNode,
  parse,
  specifiedRules,
  validate,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import { badInput } from '../chat/rules/errors.ts';
import type { Limits } from '../config.ts';
import { type Compiled, compile } from './compiler/compiler.ts';
import type { MaskError } from './error-masking.ts';
import { getOrMake } from './memo.ts';
import { operationLimits } from './rules/operation-limits.ts';
import { type CheckCost, createQueryCost } from './rules/query-cost.ts';
import { subscriptionRootRule } from './rules/subscription-root.ts';
import { findSharing, type Sharing } from './sharing.ts';

/** One operation of a document: parsed, validated and compiled. Made once, and used by every run. */
export interface PreparedOperation {
  readonly kind: OperationTypeNode;
  /** Operation type and first root field, for traces: `query chatList`. */
  readonly label: string;
  /** Unique among the prepared operations of an executor. */
  readonly id: number;
  readonly document: DocumentNode;
  readonly node: OperationDefinitionNode;
  readonly run: Compiled;
  readonly checkCost: CheckCost;
  readonly sharing: Sharing;
}

/**
 * A request from which no operation can be prepared; the errors are masked. `ambiguous`: the document is valid, and the
 * name does not select one of its operations.
 */
export type Unprepared =
  | { readonly kind: 'invalid'; readonly errors: readonly GraphQLError[] }
  | { readonly kind: 'ambiguous'; readonly errors: readonly GraphQLError[] };

export interface PrepareOptions {
  readonly schema: GraphQLSchema;
  readonly limits: Pick<Limits, 'depth' | 'aliases' | 'directives' | 'cost' | 'tokens' | 'responseBytes'>;
  readonly introspection: boolean;
  readonly mask: MaskError;
}

/** Tells clients with automatic persisted queries to send the text of the query. */
export const NOT_PERSISTED = 'PersistedQueryNotSupported';

/** Reported errors of a document, at most. */
const MAX_ERRORS = 10;
/** Size of the cache of prepared operations, in characters of their text. */
const CACHED_CHARACTERS = 250_000;
/** Size of a document in the cache beyond its text, in characters: many small documents take much memory, too. */
const MINIMUM_CHARACTERS = 250;

type Operations = Map<OperationDefinitionNode, PreparedOperation>;

/** Prepares operations, and caches them by text and operation name. */
export function createPrepare({ schema, limits, introspection, mask }: PrepareOptions) {
  const bounds = [operationLimits(limits)];
  const rules = [...specifiedRules, subscriptionRootRule, ...(introspection ? [] : [NoSchemaIntrospectionCustomRule])];
  const options = { maxErrors: MAX_ERRORS, hideSuggestions: !introspection };
  const cache = new LRUCache<string, { readonly document: DocumentNode; readonly operations: Operations }>({
    maxSize: CACHED_CHARACTERS,
    sizeCalculation: (_, text) => text.length + MINIMUM_CHARACTERS,
  });
  let count = 0;

  function make(document: DocumentNode, node: OperationDefinitionNode): PreparedOperation {
    let sharing: Sharing | undefined;
    return {
      kind: node.operation,
      label: labelOf(node),
      id: ++count,
      document,
      node,
      run: compile(schema, document, node),
      checkCost: createQueryCost(schema, limits, document, node),
      get sharing() {
        sharing ??= findSharing(schema, document, node);
        return sharing;
      },
    };
  }

  /** @throws GraphQLError where the text does not parse */
  function validated(text: string): DocumentNode | readonly GraphQLError[] {
    const document = parse(text, { maxTokens: limits.tokens });
    // Only a document within the limits is validated in full: validation takes time quadratic in its size.
    const outside = validate(schema, document, bounds);
    const errors = outside.length > 0 ? outside : validate(schema, document, rules, options);
    return errors.length > 0 ? errors : document;
  }

  function prepare(text: string, operationName: string | null | undefined): PreparedOperation | Unprepared {
    let entry = cache.get(text);
    try {
      if (!entry) {
        const document = validated(text);
        // Invalid documents are not cached: an error holds much memory, and any client can cause many.
        if (!('kind' in document)) return { kind: 'invalid', errors: document.map(mask) };
        entry = { document, operations: new Map() };
        cache.set(text, entry);
      }
      const { document, operations } = entry;
      const node = getOperationAST(document, operationName);
      if (node) return getOrMake(operations, node, () => make(document, node));
      return { kind: 'ambiguous', errors: [mask(badInput('`operationName` must name an operation of the document.'))] };
    } catch (error) {
      return { kind: 'invalid', errors: [mask(error)] };
    }
  }

  /** Prepares the only operation of a document of the server itself, exempt from the limits on text. */
  function prepareTrusted(document: DocumentNode): PreparedOperation {
    const node = getOperationAST(document);
    if (!node) throw new Error('The document must hold exactly one operation.');
    return make(document, node);
  }

  return { prepare, prepareTrusted };
}

function labelOf({ operation, selectionSet }: OperationDefinitionNode): string {
  const [field] = selectionSet.selections;
  return field?.kind === Kind.FIELD ? `${operation} ${field.name.value}` : operation;
}
