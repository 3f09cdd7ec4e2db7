import {
  type FieldNode,
  type FragmentDefinitionNode,
  GraphQLIncludeDirective,
  type GraphQLObjectType,
  type GraphQLSchema,
  GraphQLSkipDirective,
  getDirectiveValues,
  isAbstractType,
  Kind,
  type SelectionNode,
} from 'graphql';

/** Collects the fields of selections for a type, by key (GraphQL specification, section 6.3.2). */
export function collectFields(
  schema: GraphQLSchema,
  fragments: Readonly<Record<string, FragmentDefinitionNode>>,
  variables: Readonly<Record<string, unknown>>,
  type: GraphQLObjectType,
  selections: readonly SelectionNode[],
): Map<string, FieldNode[]> {
  const fields = new Map<string, FieldNode[]>();
  const spread = new Set<string>();

  function collect(node: SelectionNode): void {
    if (node.kind === Kind.FRAGMENT_SPREAD && spread.has(node.name.value)) return;
    if (getDirectiveValues(GraphQLSkipDirective, node, variables)?.if === true) return;
    if (getDirectiveValues(GraphQLIncludeDirective, node, variables)?.if === false) return;
    if (node.kind === Kind.FIELD) {
      const key = (node.alias ?? node.name).value;
      const nodes = fields.get(key);
      if (nodes) nodes.push(node);
      else fields.set(key, [node]);
    } else if (node.kind === Kind.INLINE_FRAGMENT) {
      collectAll(node, node.typeCondition?.name.value);
    } else {
      spread.add(node.name.value);
      const fragment = fragments[node.name.value];
      if (fragment) collectAll(fragment, fragment.typeCondition.name.value);
    }
  }

  function collectAll({ selectionSet }: Pick<FragmentDefinitionNode, 'selectionSet'>, condition = type.name): void {
    const other = schema.getType(condition);
    if (other === type || (isAbstractType(other) && schema.isSubType(other, type)))
      for (const node of selectionSet.selections) collect(node);
  }

  for (const node of selections) collect(node);
  return fields;
}
