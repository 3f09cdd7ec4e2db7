import {
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type ValidationRule,
} from 'graphql';
import type { Limits } from '../../config.ts';

/** Depth of the standard introspection query: the limit for introspection, beside the rule of graphql-js. */
const INTROSPECTION_DEPTH = 16;

/**
 * Longest alias, in characters: each value is written beside its alias, and the size of an answer does not count names.
 */
const MAX_ALIAS = 100;

/** An alias of introspection counts as this many aliases: each may return the whole schema once more. */
const INTROSPECTION_ALIAS = 4;

/** Repeated selections of a field in an operation, at most; graphql-js compares each pair. */
const MAX_REPEATS = 50;

/** Depth and counts of a selection, fragments included. */
interface Shape {
  readonly depth: number;
  readonly aliases: number;
  readonly directives: number;
  readonly repeats: number;
}

const NOTHING: Shape = { depth: 0, aliases: 0, directives: 0, repeats: 0 };

/**
 * Validation rule: an operation nests at most `limits.depth` fields and holds at most `limits.aliases` aliases,
 * `limits.directives` directives and MAX_REPEATS repeated fields, with fragments counted at each spread. Each fragment
 * is measured once, so the time is linear in the length of the text. An alias has at most MAX_ALIAS characters.
 *
 * graphql-armor is not used: it limits neither repeated fields nor the length of an alias, and its depth rule exempts
 * introspection altogether or not at all.
 */
export function operationLimits(limits: Pick<Limits, 'depth' | 'aliases' | 'directives'>): ValidationRule {
  return (context) => {
    const fragments = new Map<string, FragmentDefinitionNode>();
    const measured = new Map<string, Shape>();

    function measureFragment(name: string): Shape {
      const known = measured.get(name);
      if (known) return known;
      // Placeholder while the fragment is measured: it ends cycles, which another rule reports.
      measured.set(name, NOTHING);
      const fragment = fragments.get(name);
      const shape = fragment ? measure(fragment) : NOTHING;
      measured.set(name, shape);
      return shape;
    }

    /**
     * Measures a node and its directives.
     * @param beside the names of sibling fields
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
      if (depth > limits.depth) refuse(`The operation nests too deep; at most ${limits.depth} fields are allowed.`);
      if (aliases > limits.aliases)
        refuse(`The operation has too many aliases; at most ${limits.aliases} are allowed.`);
      if (repeats > MAX_REPEATS) refuse(`The operation repeats too many fields; at most ${MAX_REPEATS} are allowed.`);
      if (directives > limits.directives)
        refuse(`The operation has too many directives; at most ${limits.directives} are allowed.`);
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
          context.reportError(new GraphQLError(`An alias must have at most ${MAX_ALIAS} characters.`));
      },
    };
  };
}
