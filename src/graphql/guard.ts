import { setTimeout } from 'node:timers/promises';
import type { GraphQLFieldResolver, GraphQLSchema } from 'graphql';
import { ACCESS } from '../chat/rules/access.ts';
import { ChatError, type ErrorCode } from '../chat/rules/errors.ts';
import { checkKey } from '../chat/rules/validation.ts';
import { type ConversationKey, conversationId, parseId } from '../model.ts';
import { StoreUnavailable } from '../store/store.ts';
import { type Context, signedIn } from './context.ts';

/** Refusals wait for the next multiple of this (ms), so timing does not reveal whether a conversation exists. */
const REFUSAL_MS = 10;

/** Arguments with which root fields name a conversation. */
interface ConversationArguments {
  readonly id?: string;
  readonly conversationId?: string;
  readonly in?: string | null;
  readonly key?: ConversationKey;
  readonly by?: ConversationArguments;
  readonly to?: ConversationArguments;
  readonly input?: ConversationArguments & { readonly messages?: readonly object[] };
}

type Resolve = GraphQLFieldResolver<unknown, Context>;

/**
 * Puts every root field behind the access table: without an identity nothing runs, and each decision is audited.
 * Requirements on a conversation are checked where the conversation is read.
 * @throws Error for a root field that has no row
 */
export function guard(schema: GraphQLSchema): void {
  for (const root of [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]) {
    for (const field of Object.values(root?.getFields() ?? {})) {
      if (!Object.hasOwn(ACCESS, field.name)) throw new Error(`${field.name} has no row in the access table`);
      if (field.subscribe) field.subscribe = guarded(field.name, field.subscribe);
      else if (field.resolve) field.resolve = guarded(field.name, field.resolve);
    }
  }
}

function guarded(operation: string, resolve: Resolve): Resolve {
  return async (source, args: ConversationArguments, context, info) => {
    const started = performance.now();
    const record = (outcome: 'allowed' | ErrorCode) =>
      context.audit({ action: operation, resource: namedId(args), outcome });
    const refuse = async (code: ErrorCode) => {
      await nextMultiple(REFUSAL_MS, started);
      record(code);
    };
    try {
      signedIn(context);
      if (context.rehearsal) return await payloadNow(args, context);
      const result: unknown = await resolve(source, args, context, info);
      if (result === null) await refuse('NOT_FOUND');
      else record('allowed');
      return result;
    } catch (error) {
      await refuse(codeOf(error));
      throw error;
    }
  };
}

/** The payload of a mutation as of now; null if the conversation does not exist yet. */
async function payloadNow(args: ConversationArguments, context: Context): Promise<object | null> {
  const id = namedId(args);
  const conversation = id === undefined ? null : await context.chat.conversation(signedIn(context), { id });
  if (!conversation) return null;
  const [message] = await context.chat.messages(conversation, conversation.lastSeq, conversation.lastSeq);
  const messages = args.input?.messages?.map((draft) => ({ ...message, ...draft }));
  return { conversation, message, messages, deduplicated: false };
}

/** Resolves at the next multiple of a time counted from `since`; counted from now, it would reveal the time passed. */
async function nextMultiple(milliseconds: number, since: number): Promise<void> {
  const passed = performance.now() - since;
  const end = since + (Math.floor(passed / milliseconds) + 1) * milliseconds;
  // Timers may be early.
  for (let left = end - performance.now(); left > 0; left = end - performance.now()) await setTimeout(left);
}

function codeOf(error: unknown): ErrorCode {
  if (error instanceof ChatError) return error.code;
  return error instanceof StoreUnavailable ? 'UNAVAILABLE' : 'INTERNAL_SERVER_ERROR';
}

/** The id of the named conversation, which need not exist; undefined for an invalid name. */
function namedId({ id, conversationId, in: where, key, by, to, input }: ConversationArguments): string | undefined {
  const inner = by ?? to ?? input;
  if (inner) return namedId(inner);
  if (key) return idOfKey(key);
  return parseId(id ?? conversationId ?? where ?? '')?.conversationId;
}

function idOfKey({ configId, members }: ConversationKey): string | undefined {
  try {
    return conversationId(checkKey(configId, members));
  } catch {
    return undefined;
  }
}
