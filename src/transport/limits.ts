import {
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type ValidationRule,
} from 'graphql';
import type { Limits } from '../config.ts';

/** The standard introspection query nests this deep; introspection is held to it and to graphql's own rule for it. */
const INTROSPECTION_DEPTH = 16;

/** How deep a selection is, and how many it holds of what is counted, fragments included. */
interface Shape {
  readonly depth: number;
  readonly aliases: number;
  readonly directives: number;
}

const NOTHING: Shape = { depth: 0, aliases: 0, directives: 0 };

/**
 * Validation rule: an operation nests at most `limits.depth` fields and holds at most `limits.aliases` aliases and
 * `limits.directives` directives, with fragments counted wherever they are spread. Fragments are measured once each, so
 * that the count costs what the text is long.
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

    /** What is in a node, and the directives on it. */
    function measure(node: OperationDefinitionNode | FragmentDefinitionNode | SelectionNode): Shape {
      let { depth, aliases, directives } =
        node.kind === Kind.FRAGMENT_SPREAD ? measureFragment(node.name.value) : NOTHING;
      directives += node.directives?.length ?? 0;
      for (const selection of 'selectionSet' in node ? (node.selectionSet?.selections ?? []) : []) {
        const inner = measure(selection);
        depth = Math.max(depth, inner.depth);
        aliases += inner.aliases;
        directives += inner.directives;
      }
      if (node.kind !== Kind.FIELD) return { depth, aliases, directives };
      const introspection = node.name.value === '__schema' || node.name.value === '__type';
      const allowed = introspection && depth < INTROSPECTION_DEPTH;
      return { depth: allowed ? 1 : depth + 1, aliases: aliases + (node.alias ? 1 : 0), directives };
    }

    function check(node: OperationDefinitionNode): void {
      const { depth, aliases, directives } = measure(node);
      const refuse = (message: string) => context.reportError(new GraphQLError(message, { nodes: node }));
      if (depth > limits.depth) refuse(`The operation nests more than ${limits.depth} fields.`);
      if (aliases > limits.aliases) refuse(`The operation holds more than ${limits.aliases} aliases.`);
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
    };
  };
}
