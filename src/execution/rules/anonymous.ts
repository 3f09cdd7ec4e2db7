import type { FragmentDefinitionNode, OperationDefinitionNode } from 'graphql';
import {
  type DocumentNode,
  type ExecutionResult,
  GraphQLError,
  type GraphQLSchema,
  isNonNullType,
  Kind,
} from 'graphql';
import { unauthenticated } from '../../chat/rules/errors.ts';
import type { RecordDecision } from '../../graphql/context.ts';
import { selected } from './subscription-root.ts';

/**
 * Answers an operation of an anonymous caller without reading its variables: UNAUTHENTICATED for every root field. Null
 * for pure introspection, which needs no identity.
 */
export function refuseAnonymous(
  schema: GraphQLSchema,
  { definitions }: DocumentNode,
  { operation, selectionSet }: OperationDefinitionNode,
  audit: RecordDecision,
): ExecutionResult | null {
  const fragmentOf = (name: string) =>
    definitions.find(
      (one): one is FragmentDefinitionNode => one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === name,
    );
  const fields = schema.getRootType(operation)?.getFields() ?? {};
  const data: Record<string, null> = Object.create(null);
  const errors: GraphQLError[] = [];
  let nullable = true;
  for (const node of selected(selectionSet, fragmentOf)) {
    if (node.kind !== Kind.FIELD || node.name.value.startsWith('__')) continue;
    const key = (node.alias ?? node.name).value;
    if (key in data) continue;
    data[key] = null;
    nullable &&= !isNonNullType(fields[node.name.value]?.type);
    audit({ action: node.name.value, outcome: 'UNAUTHENTICATED' });
    errors.push(new GraphQLError('', { nodes: node, path: [key], originalError: unauthenticated() }));
  }
  if (errors.length === 0) return null;
  return operation === 'subscription' ? { errors } : { errors, data: nullable ? data : null };
}
