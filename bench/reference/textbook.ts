/**
 * Reference: what following the documentation of graphql-yoga and graphql-ws leads to. The store is an array per
 * conversation, live delivery is `createPubSub` as it comes. Everything in memory, nothing durable.
 *
 * With a `STORE_URL` of MongoDB each message is a document of its own, too, written with majority write concern before
 * it is published and acknowledged. Numbers and history still come from memory: that spares this reference work.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ExecutionArgs, execute, subscribe } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { createPubSub, createSchema, createYoga } from 'graphql-yoga';
import { MongoClient } from 'mongodb';
import { WebSocketServer } from 'ws';

interface Message {
  readonly id: string;
  readonly conversationId: string;
  readonly seq: number;
  readonly sender: string;
  readonly text: string;
  readonly clientId: string | null;
  readonly sentAt: string;
}

interface Context {
  readonly connectionParams?: Readonly<Record<string, unknown>>;
}

/** Arguments as `onSubscribe` below makes them. */
interface EnvelopedArgs extends ExecutionArgs {
  readonly rootValue: { readonly execute: typeof execute; readonly subscribe: typeof subscribe };
}

const url = process.env.STORE_URL;
const collection = url?.startsWith('mongodb')
  ? (await MongoClient.connect(url)).db().collection<Message>('messages')
  : null;
const conversations = new Map<string, Message[]>();
/** Of each conversation in a database: when the newest message is published. */
const publishing = new Map<string, Promise<Message>>();
// As it comes. Its subscribers fail at 1024 messages they have not taken; the loads of this benchmark do not get there.
const pubSub = createPubSub<{ messageAdded: [conversationId: string, payload: Message] }>();

function append(
  { conversationId, text, clientId = null }: { conversationId: string; text: string; clientId?: string | null },
  { connectionParams }: Context,
): Message {
  const messages = conversations.get(conversationId) ?? [];
  conversations.set(conversationId, messages);
  const seq = messages.length + 1;
  const sender = String(connectionParams?.authorization ?? '').replace('Bearer ', '');
  const id = `${conversationId}:${seq}`;
  const message = { id, conversationId, seq, sender, text, clientId, sentAt: new Date().toISOString() };
  messages.push(message);
  return message;
}

const yoga = createYoga({
  schema: createSchema<Context>({
    typeDefs: /* GraphQL */ `
      type Message {
        id: ID!
        conversationId: ID!
        seq: Int!
        sender: String!
        text: String!
        clientId: ID
        sentAt: String!
      }
      type Query {
        messages(conversationId: ID!, last: Int = 50, before: Int): [Message!]!
      }
      type Mutation {
        sendMessage(conversationId: ID!, text: String!, clientId: ID): Message!
        fill(conversationId: ID!, texts: [String!]!): Int!
      }
      type Subscription {
        messageAdded(conversationId: ID!): Message!
      }
    `,
    resolvers: {
      Query: {
        messages(
          _,
          { conversationId, last, before }: { conversationId: string; last: number; before?: number | null },
        ) {
          const messages = conversations.get(conversationId) ?? [];
          const end = before == null ? messages.length : before - 1;
          return messages.slice(Math.max(0, end - last), end);
        },
      },
      Mutation: {
        sendMessage(_, input: { conversationId: string; text: string; clientId?: string | null }, context) {
          const message = append(input, context);
          const { conversationId } = input;
          const publish = () => {
            pubSub.publish('messageAdded', conversationId, message);
            return message;
          };
          // Without a database no promise: it would cost what is measured.
          if (!collection) return publish();
          const written = collection.insertOne({ ...message }, { writeConcern: { w: 'majority' } });
          // No tutorial has this, but without it subscribers get messages out of order.
          const published = Promise.all([written, publishing.get(conversationId)]).then(publish);
          publishing.set(conversationId, published);
          return published;
        },
        // No tutorial has this: it makes a long conversation, in memory alone, without subscribers.
        fill(_, { conversationId, texts }: { conversationId: string; texts: readonly string[] }, context) {
          for (const text of texts) append({ conversationId, text }, context);
          return texts.length;
        },
      },
      Subscription: {
        messageAdded: {
          subscribe: (_, { conversationId }: { conversationId: string }) =>
            pubSub.subscribe('messageAdded', conversationId),
          resolve: (message: Message) => message,
        },
      },
    },
  }),
});

const http = createServer(yoga);
const wss = new WebSocketServer({ server: http, path: yoga.graphqlEndpoint });

// The way yoga's documentation puts graphql-ws beside it: operations run through yoga's plugins, its caches of parsed
// and validated documents among them. The casts: graphql-ws knows nothing of what `onSubscribe` puts in `rootValue`.
useServer(
  {
    execute: (args) => (args as EnvelopedArgs).rootValue.execute(args),
    subscribe: (args) => (args as EnvelopedArgs).rootValue.subscribe(args),
    async onSubscribe(context, _id, params) {
      const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
        ...context,
        req: context.extra.request,
        socket: context.extra.socket,
        params,
      });
      const args = {
        schema,
        operationName: params.operationName,
        document: parse(params.query),
        variableValues: params.variables,
        contextValue: await contextFactory(),
        rootValue: { execute, subscribe },
      };
      const errors = validate(args.schema, args.document);
      if (errors.length > 0) return errors;
      return args;
    },
  },
  wss,
);

http.listen(0, '127.0.0.1', () => {
  const { port } = http.address() as AddressInfo; // a string only for pipes
  console.log(`textbook GraphQL listens on http://127.0.0.1:${port}`);
});
