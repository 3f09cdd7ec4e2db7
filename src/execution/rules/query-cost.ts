import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isCompositeType,
  isInputObjectType,
  isInterfaceType,
  isListType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
  type SelectionSetNode,
  type ValueNode,
  valueFromASTUntyped,
} from 'graphql';
import { badInput } from '../../chat/rules/errors.ts';
import type { Limits } from '../../config.ts';

/** Assumed size of a page of unknown size: the largest that is served. */
const LARGEST_PAGE = 100;
/** Size of a page without `first` or `last`, if the schema has no default. */
const USUAL_PAGE = 50;
/** Assumed length of a list that is not a page. */
const USUAL_LIST = 10;

/** The cost limit of a subscription is this fraction of the limit: it is executed for each event. */
const SUBSCRIPTION_SHARE = 20;
/**
 * Largest cost without a slot and a slice of the event loop, in values: a page of messages with their fields.
 */
export const FREE_COST = 1250;
/** Largest cost without a slice of the event loop, in values: one conversation, without its messages. */
export const QUICK_COST = 100;

/**
 * Fields that count as more than one value: a proof takes reads and hashes; the past is derived from all later changes,
 * for which it always takes a slot.
 */
const VALUES: Readonly<Record<string, number>> = {
  'Message.proof': 100,
  'Query.conversationAsOf': FREE_COST + 50,
};

type Variables = Readonly<Record<string, unknown>> | null | undefined;

/**
 * The cost of an operation, in values: each field is one but for `VALUES`, pages (fields with `first` or `last`) and
 * batches count with their requested size, other lists as 10, and nested sizes multiply. A size given by a missing
 * variable counts as 100.
 *
 * graphql-armor is not used: its cost rule does not see the variables, so that a page with a size from a variable, or
 * with the default size, counts as one item, and so does a batch. It has no cost in bytes either.
 * @param costOfLeaf the cost of a field without a selection, by its name with that of its type
 */
function costOf(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables?: Variables,
  costOfLeaf: (field: GraphQLField<unknown, unknown>, name: string) => number = valuesOf,
): number {
  const root = schema.getRootType(operation.operation);
  if (!root) return 0;
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  /** Cached by fragment and enclosing page: each is counted once, so the time is linear in the length of the text. */
  const counted = new Map<string, number>();

  /** @param page the length of the lists of a page; 0 outside of pages */
  function count({ selections }: SelectionSetNode, type: GraphQLNamedType | undefined, page: number): number {
    let sum = 0;
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) sum += countField(selection, type, page);
      else if (selection.kind === Kind.FRAGMENT_SPREAD) sum += countFragment(selection.name.value, page);
      else sum += count(selection.selectionSet, named(selection.typeCondition?.name.value) ?? type, page);
    }
    return sum;
  }

  function countField(node: FieldNode, type: GraphQLNamedType | undefined, page: number): number {
    const field = isObjectType(type) || isInterfaceType(type) ? type.getFields()[node.name.value] : undefined;
    const inner = field && getNamedType(field.type);
    const below = node.selectionSet && isCompositeType(inner) ? node.selectionSet : null;
    const name = `${type?.name}.${node.name.value}`;
    const own = field && !below ? costOfLeaf(field, name) : valuesOf(field, name);
    const each = below ? own + count(below, inner, pageSize(field, node, variables)) : own;
    return isListType(getNullableType(field?.type)) ? each * (page || USUAL_LIST) : each;
  }

  function countFragment(name: string, page: number): number {
    const key = `${page} ${name}`;
    const fragment = fragments.get(name);
    if (!counted.has(key) && fragment) {
      counted.set(key, 0);
      counted.set(key, count(fragment.selectionSet, named(fragment.typeCondition.name.value), page));
    }
    return counted.get(key) ?? 0;
  }

  function named(name: string | undefined): GraphQLNamedType | undefined {
    return name === undefined ? undefined : schema.getType(name);
  }

  return count(operation.selectionSet, root, 0);
}

/** The values that a field counts as. */
function valuesOf(_: unknown, name: string): number {
  return VALUES[name] ?? 1;
}

/**
 * Size of a value of a field without a selection, in bytes, for `costOf`: the longest text; for other types a size that
 * few values exceed.
 */
function bytesOf({ name, type }: GraphQLField<unknown, unknown>): number {
  if (name === 'text') return 60_000;
  // A proof holds the text in base64, as JSON.
  if (name === 'proof') return 90_000;
  return isListType(getNullableType(type)) ? 4000 : 100;
}

/** The length of the lists of a page, or of the answer to a batch; 0 for other fields. */
function pageSize(field: GraphQLField<unknown, unknown> | undefined, node: FieldNode, variables: Variables): number {
  if (field?.args.some(takesBatch)) return batchSize(node, variables);
  const sizes = field?.args.filter(({ name }) => name === 'first' || name === 'last') ?? [];
  if (sizes.length === 0) return 0;
  const given = (node.arguments ?? []).filter(({ name }) => sizes.some((size) => size.name === name.value));
  const usual = Number(sizes.find(({ defaultValue }) => defaultValue !== undefined)?.defaultValue ?? USUAL_PAGE);
  return given.length === 0 ? usual : Math.max(...given.map(({ value }) => sizeOf(value, variables)));
}

/** True if an argument holds the messages of a batch. */
function takesBatch({ type }: GraphQLArgument): boolean {
  const input = getNamedType(type);
  return isInputObjectType(input) && 'messages' in input.getFields();
}

function batchSize({ arguments: [input] = [] }: FieldNode, variables: Variables): number {
  const value = input && valueFromASTUntyped(input.value, variables);
  const messages = typeof value === 'object' && value !== null && 'messages' in value ? value.messages : null;
  return Array.isArray(messages) ? Math.min(messages.length, LARGEST_PAGE) : LARGEST_PAGE;
}

function sizeOf(value: ValueNode, variables: Variables): number {
  const size = valueFromASTUntyped(value, variables);
  // A size out of range is refused later; clamp it, so that it does not offset other costs.
  return typeof size === 'number' && size >= 0 ? Math.min(size, LARGEST_PAGE) : LARGEST_PAGE;
}

/**
 * Checks the cost with the given variables against the limit; the highest cost over all variables is computed once.
 * @returns the cost in values, and whether the result may exceed its size limit
 * @throws ChatError BAD_USER_INPUT if the cost exceeds the limit
 */
export type CheckCost = (variables: Variables) => { readonly values: number; readonly mayBeTooLarge: boolean };

export function createQueryCost(
  schema: GraphQLSchema,
  limits: Pick<Limits, 'cost' | 'responseBytes'>,
  document: DocumentNode,
  operation: OperationDefinitionNode,
): CheckCost {
  const max = operation.operation === OperationTypeNode.SUBSCRIPTION ? limits.cost / SUBSCRIPTION_SHARE : limits.cost;
  const highestValues = costOf(schema, document, operation);
  const highestBytes = costOf(schema, document, operation, undefined, bytesOf);

  return (variables) => {
    const values =
      highestValues > Math.min(FREE_COST, max) ? costOf(schema, document, operation, variables) : highestValues;
    if (values > max) throw badInput(`The operation asks for too many values; at most ${max} are allowed.`);
    const mayBeTooLarge =
      highestBytes > limits.responseBytes &&
      costOf(schema, document, operation, variables, bytesOf) > limits.responseBytes;
    return { values, mayBeTooLarge };
  };
}
