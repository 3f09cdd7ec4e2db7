import fc from 'fast-check';
import {
  type GraphQLNamedType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  isScalarType,
  isSpecifiedScalarType,
  isUnionType,
} from 'graphql';
import { expect, test } from 'vitest';
import { scalars } from '../../src/graphql/scalars.ts';
import { createSchema } from '../../src/graphql/schema.ts';

const schema = createSchema();
const types = Object.values(schema.getTypeMap()).filter(
  (type) => !isIntrospectionType(type) && !(isScalarType(type) && isSpecifiedScalarType(type)),
);

function described(type: GraphQLNamedType): [string, string | null | undefined][] {
  const found: [string, string | null | undefined][] = [[type.name, type.description]];
  if (isEnumType(type))
    for (const value of type.getValues()) found.push([`${type.name}.${value.name}`, value.description]);
  if (isObjectType(type) || isInterfaceType(type) || isInputObjectType(type)) {
    for (const field of Object.values(type.getFields())) {
      found.push([`${type.name}.${field.name}`, field.description]);
      if ('args' in field)
        for (const arg of field.args) found.push([`${type.name}.${field.name}(${arg.name})`, arg.description]);
    }
  }
  return found;
}

test('every type, field, argument and value is described', () => {
  const all = types.flatMap(described);
  expect(all.length).toBeGreaterThan(150);
  for (const [name, description] of all) expect(description, name).toBeTruthy();
});

test('every operation that is served has a resolver, and no other is served', () => {
  const operations = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()].flatMap((root) =>
    Object.values(root?.getFields() ?? {}),
  );
  for (const { name, resolve } of operations) expect(resolve, name).toBeDefined();
  expect(operations.map(({ name }) => name).sort()).toEqual([
    ...[
      'chatList',
      'chatListChanged',
      'conversation',
      'conversationAsOf',
      'conversationEvents',
      'editMessage',
      'markRead',
      'messageAdded',
      'node',
      'recordCheckpoint',
      'recordKeys',
      'redactMessage',
      'searchMessages',
      'sendMessage',
      'sendMessages',
      'setTyping',
      'updateConversation',
      'updateView',
      'viewer',
    ],
  ]);
});

test('the schema has every type of the contract', () => {
  const names = types.map(({ name }) => name);
  for (const name of [
    'ConversationEvent',
    'Typing',
    'CaughtUp',
    'EditMessageInput',
    'RedactMessageInput',
    'UpdateConversationInput',
    'UpdateViewInput',
    'Revision',
    'ErrorCode',
  ]) {
    expect(names).toContain(name);
  }
  expect(types.filter(isUnionType).flatMap((union) => union.getTypes().map(({ name }) => name))).toEqual([
    ...['MessageAdded', 'MessageChanged', 'ReadMoved', 'Typing', 'CaughtUp'],
  ]);
});

test('instants have the format of Date.toISOString', () => {
  const write = (time: number) => void expect(scalars.DateTime.serialize(time)).toBe(new Date(time).toISOString());
  for (const time of [0, -1, 86_399_999, 86_400_000, -86_400_000, -86_400_001, 8.64e15, -8.64e15]) write(time);
  fc.assert(fc.property(fc.date({ noInvalidDate: true }), (date) => write(date.getTime())));
  expect(() => scalars.DateTime.serialize(Number.NaN)).toThrow(RangeError);
});
