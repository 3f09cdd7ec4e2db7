import {
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type ValidationRule,
} from 'graphql';
import type { Limits } from '../../config.ts';

/** The standard introspection query nests this deep; introspection is held to it and to graphql's own rule for it. */
const INTROSPECTION_DEPTH = 16;

/**
 * Characters of an alias: each value is written beside it, and what an answer counts while it is made leaves names out.
 */
const MAX_ALIAS = 100;

/** An alias of introspection counts as so many: the whole schema may be answered once more for each. */
const INTROSPECTION_ALIAS = 4;

/** Fields an operation may select again beside one of the same name; graphql compares each with each. */
const MAX_REPEATS = 50;

/** How deep a selection is, and how many it holds of what is counted, fragments included. */
interface Shape {
  readonly depth: number;
  readonly aliases: number;
  readonly directives: number;
  readonly repeats: number;
}

const NOTHING: Shape = { depth: 0, aliases: 0, directives: 0, repeats: 0 };

/**
 * Validation rule: an operation nests at most `limits.depth` fields and holds at most `limits.aliases` aliases and
 * `limits.directives` directives, and does not say the same over and over, with fragments counted wherever they are
 * spread. Fragments are measured once each, so that the count costs what the text is long. An alias is short.
 */
export function operationLimits(limits: Pick<Limits, 'depth' | 'aliases' | 'directives'>): ValidationRule {
  return (context) => {
    const fragments = new Map<string, FragmentDefinitionNode>();
    const measured = new Map<string, Shape>();

    function measureFragment(name: string): Shape {
      const known = measured.get(name);
      if (known) return known;
      // Stands for the fragment while it is being measured: cycles are another rule's error, and end here.
      measured.set(name, NOTHING);
      const fragment = fragments.get(name);
      const shape = fragment ? measure(fragment) : NOTHING;
      measured.set(name, shape);
      return shape;
    }

    /**
     * What is in a node, and the directives on it.
     * @param beside the names of fields that are selected beside it
     */
    function measure(
      node: OperationDefinitionNode | FragmentDefinitionNode | SelectionNode,
      beside = new Set<string>(),
    ): Shape {
      let { depth, aliases, directives, repeats } =
        node.kind === Kind.FRAGMENT_SPREAD ? measureFragment(node.name.value) : NOTHING;
      directives += node.directives?.length ?? 0;
      const inside = node.kind === Kind.INLINE_FRAGMENT ? beside : new Set<string>();
      for (const selection of 'selectionSet' in node ? (node.selectionSet?.selections ?? []) : []) {
        const inner = measure(selection, inside);
        depth = Math.max(depth, inner.depth);
        aliases += inner.aliases;
        directives += inner.directives;
        repeats += inner.repeats;
      }
      if (node.kind !== Kind.FIELD) return { depth, aliases, directives, repeats };
      const name = (node.alias ?? node.name).value;
      if (beside.has(name)) repeats++;
      beside.add(name);
      if (node.alias) aliases++;
      const introspection = node.name.value === '__schema' || node.name.value === '__type';
      if (introspection) aliases *= INTROSPECTION_ALIAS;
      const allowed = introspection && depth < INTROSPECTION_DEPTH;
      return { depth: allowed ? 1 : depth + 1, aliases, directives, repeats };
    }

    function check(node: OperationDefinitionNode): void {
      const { depth, aliases, directives, repeats } = measure(node);
      const refuse = (message: string) => context.reportError(new GraphQLError(message, { nodes: node }));
      if (depth > limits.depth) refuse(`The operation nests more than ${limits.depth} fields.`);
      if (aliases > limits.aliases) refuse(`The operation holds more than ${limits.aliases} aliases.`);
      if (repeats > MAX_REPEATS) refuse(`The operation selects more than ${MAX_REPEATS} fields again.`);
      if (directives > limits.directives) refuse(`The operation holds more than ${limits.directives} directives.`);
    }

    return {
      Document({ definitions }) {
        for (const definition of definitions) {
          if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
        }
        for (const definition of definitions) {
          if (definition.kind === Kind.OPERATION_DEFINITION) check(definition);
        }
      },
      Field({ alias }) {
        if (alias && alias.value.length > MAX_ALIAS)
          context.reportError(new GraphQLError(`An alias is longer than ${MAX_ALIAS} characters.`));
      },
    };
  };
}
