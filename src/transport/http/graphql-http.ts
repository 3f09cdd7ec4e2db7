import { type EventEmitter, once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ExecutionResult, GraphQLError, type GraphQLErrorExtensions, OperationTypeNode } from 'graphql';
import { createYoga, type FetchAPI, type GraphQLParams, type Plugin, processRegularResult } from 'graphql-yoga';
import Negotiator from 'negotiator';
import type { Chat } from '../../chat/chat.ts';
import { badInput, ChatError, ERROR_CODES, type ErrorCode } from '../../chat/rules/errors.ts';
import type { Limits } from '../../config.ts';
import { relabel } from '../../execution/error-masking.ts';
import type { Executor } from '../../execution/executor.ts';
import { NOT_PERSISTED } from '../../execution/prepared-operation.ts';
import type { Answer } from '../../execution/response-writer.ts';
import type { Viewer } from '../../model.ts';
import type { Audit, AuditActor } from '../../observability/audit.ts';
import type { Authenticate } from '../admission/authenticate.ts';
import { graphiqlPage } from './graphiql.ts';

export interface GraphqlHttpOptions {
  readonly executor: Executor;
  readonly chat: Chat;
  readonly authenticate: Authenticate;
  readonly audit: Audit;
  readonly limits: Pick<Limits, 'frameBytes'>;
  /** Whether GraphiQL is served to browsers. */
  readonly graphiql: boolean;
}

/** The media types of results, the default first: one JSON document, no event stream or multipart. */
const RESULT_TYPES = ['application/json', 'application/graphql-response+json'].map((type) => `${type}; charset=utf-8`);

/** The parameters of a GraphQL request. */
const PARAMETERS = ['query', 'variables', 'operationName', 'extensions'];

const HTML = 'text/html; charset=utf-8';

/** Yoga's server context of a request. */
interface RequestContext {
  /** The client's network address. */
  readonly address: string;
  /** Resolves when the client has read the answer or disconnected. */
  readonly drained: () => Promise<void>;
  /** Whether the client still waits for the answer. */
  readonly wanted: () => boolean;
  /** The media type of the answer; undefined if the client accepts none. */
  readonly type: string | undefined;
}

/** Serves GraphQL over HTTP (graphql.github.io/graphql-over-http): yoga does the protocol, the executor operations. */
export function createHttp({ executor, chat, authenticate, audit, limits, graphiql }: GraphqlHttpOptions) {
  async function authenticateRequest(authorization: string | null, address: string): Promise<Viewer | null> {
    try {
      return (await authenticate(authorization))?.viewer ?? null;
    } catch (error) {
      if (error instanceof ChatError)
        audit({ user: null, address, transport: 'http' }, { action: 'connect', outcome: error.code });
      throw error;
    }
  }

  const plugin: Plugin<Record<never, never>, RequestContext> = {
    async onRequestParse({ request, serverContext: { type }, setRequestParser, endResponse, fetchAPI }) {
      if (type === HTML) {
        const { html, headers } = await graphiqlPage();
        return endResponse(new fetchAPI.Response(html, { headers }));
      }
      if (!type) return endResponse(new fetchAPI.Response(null, { status: 406 }));
      if (request.method === 'GET') return setRequestParser(readParameters);
      if (request.method !== 'POST') return;
      if (!/^application\/json\s*(;|$)/i.test(request.headers.get('content-type') ?? '')) {
        throw refusal(415, 'The content type of the body must be application/json.', {
          headers: { accept: 'application/json' },
        });
      }
      if (!/^(\s*(identity)?\s*(,|$))*$/i.test(request.headers.get('content-encoding') ?? '')) {
        const headers = { 'accept-encoding': 'identity' };
        throw refusal(415, 'The body must not have a content coding.', { headers });
      }
      setRequestParser(readJson);
    },
    onResultProcess({ result, serverContext: { type }, setResultProcessor }) {
      if (!type) return;
      const answer = (({ data }: ExecutionResult<Pick<Answer, 'json'>>, fetchAPI: FetchAPI) =>
        new fetchAPI.Response(data?.json, { headers: { 'content-type': type } })) as typeof processRegularResult;
      // An operation that ran has status 200; the executor has serialized and bounded its result.
      setResultProcessor('data' in result ? answer : processRegularResult, type.replace(/;.*/, ''));
    },
    onResponse({ request, response: { headers } }) {
      headers.append('vary', 'Accept, Origin');
      if (request.method === 'OPTIONS') headers.set('allow', 'GET, HEAD, POST, OPTIONS');
    },
    onParams({ setParamsHandler, context: { address, drained, wanted } }) {
      setParamsHandler(async ({ params: { query = '', variables, operationName }, request }) => {
        const operation = executor.prepare(query, operationName);
        if (operation.kind === 'invalid') return { errors: operation.errors.map(asRequestError) };
        if (operation.kind === 'ambiguous')
          throw refusal(400, '`operationName` must name an operation of the document.');
        if (operation.kind === OperationTypeNode.SUBSCRIPTION)
          throw refusal(400, 'Subscriptions are served over WebSocket.');
        if (operation.kind === OperationTypeNode.MUTATION && request.method === 'GET')
          throw refusal(405, 'A mutation must be sent by POST.', { headers: { allow: 'POST' } });
        const viewer = await authenticateRequest(request.headers.get('authorization'), address);
        const actor: AuditActor = { user: viewer?.email ?? null, address, transport: 'http' };
        const result = await executor.run(
          { operation, variables, wanted, traceparent: request.headers.get('traceparent') },
          { chat, viewer, free: () => true, drained, audit: (event) => audit(actor, event) },
        );
        if (result.kind === 'stream') throw new Error('Only a subscription has events.');
        // The JSON bypasses yoga: see `onResultProcess`.
        return result.ran ? { data: { json: result.json } } : { errors: result.errors.map(asRequestError) };
      });
    },
  };

  const yoga = createYoga<RequestContext>({
    plugins: [plugin],
    schema: executor.schema,
    maskedErrors: { maskError: (error) => withCode(executor, limits.frameBytes, error) },
    maxRequestBodySize: limits.frameBytes,
    multipart: false,
    batching: false,
    landingPage: false,
    logging: false,
    // The executor has a cache for all transports.
    parserAndValidationCache: false,
    // The server has refused other origins already. A preflight allows the headers that it requests.
    cors: (request) => {
      const origin = request.headers.get('origin');
      return origin
        ? { origin, methods: ['GET', 'POST'], exposedHeaders: ['allow', 'www-authenticate'], maxAge: 600 }
        : false;
    },
    graphiql: false,
  });

  return async (request: IncomingMessage, response: ServerResponse, search: string, address: string): Promise<void> => {
    // Node omits the body of an answer to HEAD.
    if (request.method === 'HEAD') request.method = 'GET';
    request.url = `/graphql?${search}`;
    const types = graphiql && request.method === 'GET' ? [...RESULT_TYPES, HTML] : RESULT_TYPES;
    // An empty header counts as absent.
    const accept = request.headers.accept || '*/*';
    const type = new Negotiator({ headers: { accept } }).mediaType(types);
    const { socket } = request;
    const wanted = () => !response.closed && !socket.destroyed;
    const drained = async () => {
      if (!wanted()) return;
      const done = new AbortController();
      const closed = (emitter: EventEmitter) => once(emitter, 'close', { signal: done.signal }).catch(() => {});
      // A pipelined response that waits for an earlier one emits nothing when the connection ends.
      await Promise.race([closed(response), closed(socket)]);
      done.abort();
    };
    await yoga(request, response, { address, type, drained, wanted });
  };
}

async function readJson(request: Request): Promise<GraphQLParams> {
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await request.arrayBuffer()));
  } catch (error) {
    if (error instanceof GraphQLError) throw error;
    throw refusal(400, 'The body must be JSON in UTF-8.');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw refusal(400, 'The body must be one JSON object; batches are not supported.');
  }
  return params(body);
}

async function readParameters(request: Request): Promise<GraphQLParams> {
  const given: Record<string, unknown> = Object.fromEntries(new URL(request.url).searchParams);
  for (const name of ['variables', 'extensions']) {
    const text = given[name];
    try {
      // An empty parameter counts as absent.
      given[name] = typeof text === 'string' && text !== '' ? JSON.parse(text) : undefined;
    } catch {
      throw refusal(400, `\`${name}\` must be JSON.`);
    }
  }
  return params(given);
}

/** The known parameters of a request. Checks that `query` is a text; yoga validates the others. */
function params(given: GraphQLParams): GraphQLParams {
  // An empty name counts as absent.
  const known: GraphQLParams = Object.fromEntries(
    Object.entries(given).filter(
      ([name, value]) => PARAMETERS.includes(name) && !(name === 'operationName' && value === ''),
    ),
  );
  if (!known.query && known.extensions?.persistedQuery) throw refusal(400, NOT_PERSISTED, { spec: true });
  if (typeof known.query !== 'string') throw refusal(400, '`query` must be the text of an operation.');
  return known;
}

type ErrorHttp = NonNullable<GraphQLErrorExtensions['http']>;

/** An error of the whole request, with the status and headers for yoga. */
function refusal(status: number, message: string, http: ErrorHttp = {}): GraphQLError {
  return new GraphQLError(message, { extensions: { http: { ...http, status } }, originalError: badInput(message) });
}

/** A request that did not run: status 400 with application/graphql-response+json, 200 with application/json. */
function asRequestError(error: GraphQLError): GraphQLError {
  return withStatus(error, { status: ERROR_CODES[error.extensions.code as ErrorCode], spec: true });
}

function withStatus(error: GraphQLError, http: ErrorHttp): GraphQLError {
  return relabel(error, error.message, { ...error.extensions, http });
}

/** Gives an error of yoga, or one thrown to it, a code of the contract; its HTTP status is kept. */
function withCode(executor: Executor, maxBytes: number, error: unknown): GraphQLError {
  const http = error instanceof GraphQLError ? error.extensions.http : undefined;
  const known =
    http?.status === 413 ? new ChatError('TOO_LARGE', `The body must have at most ${maxBytes} bytes.`) : error;
  const masked = executor.mask(known);
  const bearer = masked.extensions.code === 'UNAUTHENTICATED' && { headers: { 'www-authenticate': 'Bearer' } };
  return withStatus(masked, { status: ERROR_CODES[masked.extensions.code as ErrorCode], ...http, ...bearer });
}
