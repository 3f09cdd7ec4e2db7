import {
  type ASTNode,
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  type SelectionSetNode,
  type ValidationRule,
} from 'graphql';
import type { Limits } from '../config.ts';

/** The standard introspection query nests this deep; introspection is held to it and to graphql's own rule for it. */
const INTROSPECTION_DEPTH = 16;

/** How deep and how aliased a selection is, fragments included. */
interface Shape {
  readonly depth: number;
  readonly aliases: number;
}

/**
 * Validation rule: an operation nests at most `limits.depth` fields and holds at most `limits.aliases` aliases, with
 * fragments counted wherever they are spread. Fragments are measured once each, so that the count costs what the text is long.
 */
export function operationLimits(limits: Pick<Limits, 'depth' | 'aliases'>): ValidationRule {
  return (context) => {
    const fragments = new Map<string, FragmentDefinitionNode>();
    const measured = new Map<string, Shape>();

    function measureFragment(name: string): Shape {
      const known = measured.get(name);
      if (known) return known;
      // Stands for the fragment while it is being measured: cycles are another rule's error, and end here.
      measured.set(name, { depth: 0, aliases: 0 });
      const fragment = fragments.get(name);
      const shape = fragment ? measure(fragment.selectionSet) : { depth: 0, aliases: 0 };
      measured.set(name, shape);
      return shape;
    }

    function measure(set: SelectionSetNode): Shape {
      let depth = 0;
      let aliases = 0;
      for (const selection of set.selections) {
        let inner: Shape = { depth: 0, aliases: 0 };
        if (selection.kind === Kind.FRAGMENT_SPREAD) inner = measureFragment(selection.name.value);
        else if (selection.selectionSet) inner = measure(selection.selectionSet);
        if (selection.kind === Kind.FIELD) {
          const introspection = selection.name.value === '__schema' || selection.name.value === '__type';
          const allowed = introspection && inner.depth < INTROSPECTION_DEPTH;
          inner = { depth: allowed ? 1 : inner.depth + 1, aliases: inner.aliases + (selection.alias ? 1 : 0) };
        }
        depth = Math.max(depth, inner.depth);
        aliases += inner.aliases;
      }
      return { depth, aliases };
    }

    function check(node: ASTNode, shape: Shape): void {
      if (shape.depth > limits.depth) {
        context.reportError(new GraphQLError(`The operation nests more than ${limits.depth} fields.`, { nodes: node }));
      }
      if (shape.aliases > limits.aliases) {
        context.reportError(
          new GraphQLError(`The operation holds more than ${limits.aliases} aliases.`, { nodes: node }),
        );
      }
    }

    return {
      Document({ definitions }) {
        for (const definition of definitions) {
          if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
        }
        for (const definition of definitions) {
          if (definition.kind === Kind.OPERATION_DEFINITION) check(definition, measure(definition.selectionSet));
        }
      },
    };
  };
}
