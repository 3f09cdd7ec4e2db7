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
import { type Memo, ReferenceCounted } from './memo.ts';
import type { Json } from './response-writer.ts';
import { isMarked, type Split, splitSubscription } from './split-selection.ts';

/** The fields of an event in the parts of a split, as JSON; null if there are errors, or the JSON is too large. */
export type Fields = readonly Buffer[] | null;

/** Dependencies of the result of an operation, as marked in the schema. */
interface Dependencies {
  /** True if a field depends on the viewer. */
  readonly perViewer: boolean;
  /** True if the single root field reads one conversation. */
  readonly oneConversation: boolean;
  /** Variables used below the root field, or in a directive: the root field's own arguments choose the events. */
  readonly variables: readonly string[];
}

/** How an operation may be shared between its callers, and the executions its subscribers share now. */
export interface Sharing extends Dependencies {
  readonly split: Split | null;
  readonly whole: ReferenceCounted<Memo<Json>>;
  readonly fields: ReferenceCounted<Memo<Fields>>;
}

export function findSharing(schema: GraphQLSchema, document: DocumentNode, node: OperationDefinitionNode): Sharing {
  const dependencies = findDependencies(schema, separateOperations(document)[node.name?.value ?? ''] ?? document);
  const split = dependencies.perViewer ? splitSubscription(schema, document, node) : null;
  return { ...dependencies, split, whole: new ReferenceCounted(), fields: new ReferenceCounted() };
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
        // Variables in definitions have no parent type.
        if (parent && (!roots.includes(parent as GraphQLObjectType) || typeInfo.getDirective()))
          variables.add(name.value);
      },
    }),
  );
  const oneConversation = rootFields.length === 1 && rootFields[0] === true;
  return { perViewer, oneConversation, variables: [...variables] };
}
