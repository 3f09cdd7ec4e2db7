import {
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  OperationTypeNode,
  type SelectionNode,
  type SelectionSetNode,
  type ValidationRule,
} from 'graphql';

/**
 * Validation rule: the root field of a subscription is unconditional. The specification forbids `@skip` and `@include`
 * on it (section 5.2.4.1); graphql 16 does not, and fails if no field is left to subscribe to.
 */
export const subscriptionRootRule: ValidationRule = (context) => ({
  OperationDefinition({ operation, selectionSet }) {
    if (operation !== OperationTypeNode.SUBSCRIPTION) return;
    for (const node of selected(selectionSet, (name) => context.getFragment(name))) {
      if (node.directives?.some(({ name }) => name.value === 'skip' || name.value === 'include')) {
        const message = 'The root field of a subscription must not have @skip or @include.';
        context.reportError(new GraphQLError(message, { nodes: node }));
      }
    }
  },
});

/** The selections of a level, including those in fragments; each fragment once. */
export function selected(
  set: SelectionSetNode,
  fragmentOf: (name: string) => FragmentDefinitionNode | null | undefined,
  seen = new Set<string>(),
): SelectionNode[] {
  return set.selections.flatMap((selection) => {
    if (selection.kind === Kind.FIELD) return [selection];
    if (selection.kind === Kind.INLINE_FRAGMENT)
      return [selection, ...selected(selection.selectionSet, fragmentOf, seen)];
    const name = selection.name.value;
    const fragment = seen.has(name) ? undefined : fragmentOf(name);
    seen.add(name);
    return fragment ? [selection, ...selected(fragment.selectionSet, fragmentOf, seen)] : [selection];
  });
}
