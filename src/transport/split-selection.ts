import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  getNamedType,
  isInterfaceType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql';
import { selected } from './unconditional.ts';

/** What the copies of fragments that hold a part of a selection are named by. */
const SUFFIX = '__part';

/** A subscription in two: what an event is to every viewer, and what it is to one. */
export interface Split {
  readonly shared: DocumentNode;
  readonly own: DocumentNode;
  /** The key of the root field in the result. */
  readonly root: string;
  /** The keys of an event's fields, in the order of the document. */
  readonly keys: readonly string[];
}

/**
 * Splits a subscription by the fields of its events that are marked `@perViewer`, or hold such. Null where there are no
 * others, or the events are of more than one type.
 */
export function splitSubscription(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
): Split | null {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const one of document.definitions) {
    if (one.kind === Kind.FRAGMENT_DEFINITION) fragments.set(one.name.value, one);
  }
  const fragmentOf = (name: string) => fragments.get(name);
  const roots = fieldsOf(selected(operation.selectionSet, fragmentOf));
  const [first] = roots;
  const root = first && schema.getSubscriptionType()?.getFields()[first.name.value];
  const type = root && getNamedType(root.type);
  const selections = roots.flatMap(({ selectionSet }) => selectionSet?.selections ?? []);
  if (!first || !isObjectType(type)) return null;
  const rootNode = first;
  const set: SelectionSetNode = { kind: Kind.SELECTION_SET, selections };

  const known = new Map<string, boolean>();
  /** Whether a selection holds a field that depends on the viewer. */
  function isPerViewer({ selections }: SelectionSetNode, on: GraphQLNamedType | null | undefined): boolean {
    return selections.some((node) => {
      if (node.kind === Kind.FIELD) return dependsOnViewer(node, on);
      if (node.kind === Kind.INLINE_FRAGMENT)
        return isPerViewer(node.selectionSet, node.typeCondition ? schema.getType(node.typeCondition.name.value) : on);
      const name = node.name.value;
      const fragment = fragments.get(name);
      if (!known.has(name) && fragment) {
        known.set(name, false);
        known.set(name, isPerViewer(fragment.selectionSet, schema.getType(fragment.typeCondition.name.value)));
      }
      return known.get(name) ?? false;
    });
  }

  function dependsOnViewer(node: FieldNode, on: GraphQLNamedType | null | undefined): boolean {
    const field = isObjectType(on) || isInterfaceType(on) ? on.getFields()[node.name.value] : undefined;
    if (!field) return false;
    const given = new Set(node.arguments?.map(({ name }) => name.value));
    const marked = [field, ...field.args.filter(({ name }) => given.has(name))].some((one) =>
      isMarked(one, 'perViewer'),
    );
    if (marked) return true;
    return node.selectionSet !== undefined && isPerViewer(node.selectionSet, getNamedType(field.type));
  }

  /** The document with those of the events' fields alone that are wanted; null where there is none. */
  function part(own: boolean): DocumentNode | null {
    const copies = new Map<string, FragmentDefinitionNode | null>();
    function filter(set: SelectionSetNode): SelectionSetNode | null {
      const left = set.selections.flatMap((node): SelectionNode[] => {
        if (node.kind === Kind.FIELD) return dependsOnViewer(node, type) === own ? [node] : [];
        if (node.kind === Kind.INLINE_FRAGMENT) {
          const inner = filter(node.selectionSet);
          return inner ? [{ ...node, selectionSet: inner }] : [];
        }
        const copy = copyOf(node.name.value);
        return copy ? [{ ...node, name: copy.name }] : [];
      });
      return left.length > 0 ? { ...set, selections: left } : null;
    }
    function copyOf(name: string): FragmentDefinitionNode | null {
      const fragment = fragments.get(name);
      if (!copies.has(name) && fragment) {
        const inner = filter(fragment.selectionSet);
        copies.set(
          name,
          inner && { ...fragment, name: { kind: Kind.NAME, value: `${name}${SUFFIX}` }, selectionSet: inner },
        );
      }
      return copies.get(name) ?? null;
    }
    const left = filter(set);
    if (!left) return null;
    const only: OperationDefinitionNode = {
      ...operation,
      selectionSet: { kind: Kind.SELECTION_SET, selections: [{ ...rootNode, selectionSet: left }] },
    };
    const used = [...copies.values()].filter((copy) => copy !== null);
    return { ...document, definitions: [only, ...fragments.values(), ...used] };
  }

  const [shared, own] = [part(false), part(true)];
  if (!shared || !own) return null;
  const keys = fieldsOf(selected(set, fragmentOf)).map(keyOf);
  return { shared, own, root: keyOf(first), keys: [...new Set(keys)] };
}

function fieldsOf(selections: readonly SelectionNode[]): FieldNode[] {
  return selections.filter((node): node is FieldNode => node.kind === Kind.FIELD);
}

function keyOf({ alias, name }: FieldNode): string {
  return (alias ?? name).value;
}

/** Whether the schema marks a field or an argument with this directive. */
export function isMarked(
  element: GraphQLField<unknown, unknown> | GraphQLArgument | null | undefined,
  directive: string,
): boolean {
  return element?.astNode?.directives?.some(({ name }) => name.value === directive) ?? false;
}
