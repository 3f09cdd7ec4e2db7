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
import { type Compiled, compile } from './compiler/compiler.ts';
import { selected } from './rules/subscription-root.ts';

/** Separator in the names of fragment copies that hold a part of a selection. */
const SUFFIX = '__part';

/** A subscription in parts: fields that are the same for every viewer, and fields of one viewer. */
export interface Split {
  /** The key of the root field in the result. */
  readonly root: string;
  /** Runs of adjacent fields of the events, in the order of the document. */
  readonly parts: readonly Part[];
}

/** A part of a subscription. */
export interface Part {
  /** True if the fields depend on the viewer. */
  readonly own: boolean;
  /** Runs the subscription with these fields alone. */
  readonly run: Compiled;
}

/**
 * Splits a subscription into the fields of its events that are marked `@perViewer`, or contain such fields, and the
 * others. Null if there are no others, or the events are of more than one type.
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
  /** True if a selection holds a field that depends on the viewer. */
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

  /** The subscription, with only the event fields of these keys. */
  function partOf(keys: ReadonlySet<string>): Compiled {
    const copies = new Map<string, FragmentDefinitionNode>();
    const filter = (set: SelectionSetNode): SelectionSetNode => ({
      ...set,
      selections: set.selections.flatMap((node): SelectionNode[] => {
        if (node.kind === Kind.FIELD) return keys.has(keyOf(node)) ? [node] : [];
        if (node.kind === Kind.INLINE_FRAGMENT) {
          const selectionSet = filter(node.selectionSet);
          return selectionSet.selections.length > 0 ? [{ ...node, selectionSet }] : [];
        }
        const copy = copyOf(node.name.value);
        return copy ? [{ ...node, name: copy.name }] : [];
      }),
    });
    function copyOf(name: string): FragmentDefinitionNode | undefined {
      const fragment = fragments.get(name);
      if (!copies.has(name) && fragment) {
        const copy = { kind: Kind.NAME, value: `${name}${SUFFIX}` } as const;
        copies.set(name, { ...fragment, name: copy, selectionSet: filter(fragment.selectionSet) });
      }
      return copies.get(name);
    }
    const only: OperationDefinitionNode = {
      ...operation,
      selectionSet: { kind: Kind.SELECTION_SET, selections: [{ ...rootNode, selectionSet: filter(set) }] },
    };
    const definitions = [only, ...fragments.values(), ...copies.values()];
    return compile(schema, { ...document, definitions }, only);
  }

  const nodes = fieldsOf(selected(set, fragmentOf));
  const own = new Set(nodes.filter((node) => dependsOnViewer(node, type)).map(keyOf));
  /** Adjacent keys. */
  const groups: Set<string>[] = [];
  let before: boolean | null = null;
  for (const key of new Set(nodes.map(keyOf))) {
    if (own.has(key) === before) groups.at(-1)?.add(key);
    else groups.push(new Set([key]));
    before = own.has(key);
  }
  const parts = groups.map((keys): Part => ({ own: [...keys].some((key) => own.has(key)), run: partOf(keys) }));
  const isSplit = [true, false].every((one) => parts.some((part) => part.own === one));
  return isSplit ? { root: keyOf(first), parts } : null;
}

function fieldsOf(selections: readonly SelectionNode[]): FieldNode[] {
  return selections.filter((node): node is FieldNode => node.kind === Kind.FIELD);
}

function keyOf({ alias, name }: FieldNode): string {
  return (alias ?? name).value;
}

/** True if the schema marks a field or an argument with this directive. */
export function isMarked(
  element: GraphQLField<unknown, unknown> | GraphQLArgument | null | undefined,
  directive: string,
): boolean {
  return element?.astNode?.directives?.some(({ name }) => name.value === directive) ?? false;
}
