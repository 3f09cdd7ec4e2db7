import { readFileSync } from 'node:fs';
import { parse, print, separateOperations } from 'graphql';

const FILE = new URL('../web/client/operations.graphql', import.meta.url);

/** More of the page's fragments, in operations that the page does not have. */
const ADDED = /* GraphQL */ `
  query OpenNewest($id: ID!, $size: Int!) {
    conversation(by: { id: $id }) {
      ...ConversationFields
      messages(last: $size) {
        ...PageFields
      }
    }
  }
  mutation FillConversation($input: SendMessagesInput!) {
    sendMessages(input: $input) {
      conversation {
        lastRev
      }
    }
  }
  mutation StartConversation($input: SendMessageInput!) {
    sendMessage(input: $input) {
      conversation {
        id
      }
    }
  }
`;

const operations = separateOperations(parse(readFileSync(FILE, 'utf8') + ADDED));

/** Makes frames of one of the operations that the page's client sends, with only the variables left to fill in. */
export function pageOperation(name: string): (id: string, variables: string) => string {
  const document = operations[name];
  if (!document) throw new Error(`the page has no operation ${name}`);
  return graphqlOperation(print(document));
}

/** Makes frames of an operation. `variables` is the inside of a JSON object. */
export function graphqlOperation(query: string): (id: string, variables: string) => string {
  const text = JSON.stringify(query);
  return (id, variables) => `{"id":"${id}","type":"subscribe","payload":{"query":${text},"variables":{${variables}}}}`;
}
