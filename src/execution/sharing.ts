import {
  type DocumentNode,
  type GraphQLObjectType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  separateOperations,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import { Kept, type Memo } from './memo.ts';
import type { Json } from './response-writer.ts';
import { isMarked, type Split, splitSubscription } from './split-selection.ts';

/** The fields of an event in parts of a split, as JSON; null where there are errors, or it is too large. */
export type Fields = readonly Buffer[] | null;

/** What the result of an operation depends on, as the schema marks it. */
interface Dependencies {
  /** A field depends on the viewer. */
  readonly perViewer: boolean;
  /** The single root field is about one conversation alone. */
  readonly oneConversation: boolean;
  /** Variables used below the root field, or in a directive: the root field's own arguments choose the events. */
  readonly variables: readonly string[];
}

/** What an operation may share between its callers, and what its subscribers share now. */
export interface Sharing extends Dependencies {
  readonly split: Split | null;
  readonly whole: Kept<Memo<Json>>;
  readonly fields: Kept<Memo<Fields>>;
}

export function findSharing(schema: GraphQLSchema, document: DocumentNode, node: OperationDefinitionNode): Sharing {
  const dependencies = findDependencies(schema, separateOperations(document)[node.name?.value ?? ''] ?? document);
  const split = dependencies.perViewer ? splitSubscription(schema, document, node) : null;
  return { ...dependencies, split, whole: new Kept(), fields: new Kept() };
}

function findDependencies(schema: GraphQLSchema, document: DocumentNode): Dependencies {
  const typeInfo = new TypeInfo(schema);
  const roots = [schema.getQueryType(), schema.getSubscriptionType()];
  const variables = new Set<string>();
  const rootFields: boolean[] = [];
  let perViewer = false;
  visit(
    document,
    visitWithTypeInfo(typeInfo, {
      Field() {
        const field = typeInfo.getFieldDef();
        perViewer ||= isMarked(field, 'perViewer');
        if (roots.includes(typeInfo.getParentType() as GraphQLObjectType))
          rootFields.push(isMarked(field, 'oneConversation'));
      },
      Argument() {
        perViewer ||= isMarked(typeInfo.getArgument(), 'perViewer');
      },
      Variable({ name }) {
        const parent = typeInfo.getParentType();
        // The definitions have no parent.
        if (parent && (!roots.includes(parent as GraphQLObjectType) || typeInfo.getDirective()))
          variables.add(name.value);
      },
    }),
  );
  const oneConversation = rootFields.length === 1 && rootFields[0] === true;
  return { perViewer, oneConversation, variables: [...variables] };
}
