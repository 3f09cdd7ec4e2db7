import { GraphQLError, type GraphQLErrorExtensions, OperationTypeNode } from 'graphql';
import { createYoga, type GraphQLParams, type Plugin } from 'graphql-yoga';
import type { Chat } from '../chat/chat.ts';
import { badInput, ChatError, ERROR_CODES, type ErrorCode } from '../chat/errors.ts';
import type { Limits } from '../config.ts';
import type { Viewer } from '../model.ts';
import type { Asker, Audit } from '../observe.ts';
import { type Gate, relabel } from './gate.ts';
import { graphiqlPage } from './graphiql.ts';
import type { Identify } from './identity.ts';

export interface YogaOptions {
  readonly gate: Gate;
  readonly chat: Chat;
  readonly identify: Identify;
  readonly audit: Audit;
  readonly limits: Pick<Limits, 'frameBytes'>;
  /** Whether GraphiQL is served to browsers. */
  readonly graphiql: boolean;
}

/** What is handed over with each request. */
interface Client {
  /** The client's network address. */
  readonly from: string;
  /** Resolves when the client has read the answer, or is gone. */
  readonly drained: () => Promise<void>;
}

/** Serves GraphQL over HTTP (graphql.github.io/graphql-over-http): yoga speaks the protocol, the gate runs the operations. */
export function createHttp({ gate, chat, identify, audit, limits, graphiql }: YogaOptions) {
  async function authenticate(authorization: string | null, from: string): Promise<Viewer | null> {
    try {
      return (await identify(authorization))?.viewer ?? null;
    } catch (error) {
      if (error instanceof ChatError)
        audit({ who: null, from, over: 'http' }, { what: 'connect', outcome: error.code });
      throw error;
    }
  }

  const page = graphiql ? graphiqlPage() : null;
  const gated: Plugin<Record<never, never>, Client> = {
    onRequestParse({ request, setRequestParser, endResponse, fetchAPI }) {
      const accept = request.headers.get('accept');
      if (page && request.method === 'GET' && /text\/html/i.test(accept ?? '') && !new URL(request.url).search)
        return endResponse(new fetchAPI.Response(page.html, { headers: page.headers }));
      if (!accepts(accept)) return endResponse(new fetchAPI.Response(null, { status: 406 }));
      if (request.method === 'GET') return setRequestParser(readParameters);
      if (request.method !== 'POST') return;
      if (!/^application\/json\s*(;|$)/i.test(request.headers.get('content-type') ?? '')) {
        throw refusal(415, 'The body is to be application/json.');
      }
      setRequestParser(readJson);
    },
    onParams({ setParamsHandler, context: { from, drained } }) {
      setParamsHandler(async ({ params: { query = '', variables, operationName }, request }) => {
        const document = gate.prepare(query);
        if (!('kind' in document)) return { errors: document.map(inRequest) };
        const kind = gate.kind(document, operationName);
        if (!kind) throw refusal(400, 'The document does not say which operation to run.');
        if (kind === OperationTypeNode.SUBSCRIPTION) throw refusal(400, 'Subscriptions are served over WebSocket.');
        if (kind === OperationTypeNode.MUTATION && request.method === 'GET')
          throw refusal(405, 'Mutations are sent by POST.', { allow: 'POST' });
        const viewer = await authenticate(request.headers.get('authorization'), from);
        const asker: Asker = { who: viewer?.email ?? null, from, over: 'http' };
        const result = await gate.run(
          { query: document, variables, operationName },
          { chat, viewer, drained, audit: (decision) => audit(asker, decision) },
        );
        if ('deliver' in result) throw new Error('only subscriptions have events');
        return result.data === undefined && result.errors ? { errors: result.errors.map(inRequest) } : result;
      });
    },
  };

  return createYoga<Client>({
    plugins: [gated],
    schema: gate.schema,
    maskedErrors: { maskError: (error) => asCode(gate, error) },
    maxRequestBodySize: limits.frameBytes,
    multipart: false,
    batching: false,
    landingPage: false,
    logging: false,
    // The gate has a cache of its own, for all transports.
    parserAndValidationCache: false,
    cors: (request) => {
      const origin = request.headers.get('origin');
      // The server let no other origin through to here.
      return origin
        ? { origin, methods: ['GET', 'POST'], allowedHeaders: ['authorization', 'content-type'], maxAge: 600 }
        : false;
    },
    graphiql: false,
  });
}

/** Results are JSON, whole: no event streams and no parts. */
function accepts(accept: string | null): boolean {
  return !accept || /application\/(json|graphql-response\+json|\*)|\*\/\*|text\/html/i.test(accept);
}

async function readJson(request: Request): Promise<GraphQLParams> {
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await request.arrayBuffer()));
  } catch (error) {
    if (error instanceof GraphQLError) throw error;
    throw refusal(400, 'The body is not JSON in UTF-8.');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw refusal(400, 'The body is to be one JSON object; batches are not taken.');
  }
  return params(body);
}

async function readParameters(request: Request): Promise<GraphQLParams> {
  const members: Record<string, unknown> = Object.fromEntries(new URL(request.url).searchParams);
  for (const name of ['variables', 'extensions']) {
    if (typeof members[name] !== 'string') continue;
    try {
      members[name] = JSON.parse(members[name]);
    } catch {
      throw refusal(400, `${name} is to be JSON.`);
    }
  }
  return params(members);
}

/** Makes sure that there is an operation; yoga checks the other members. */
function params(members: GraphQLParams): GraphQLParams {
  if (typeof members.query !== 'string') throw refusal(400, 'query is to be the text of an operation.');
  return members;
}

/** An error for the whole request, with its status and headers where yoga looks for them. */
function refusal(status: number, message: string, headers: Record<string, string> = {}): GraphQLError {
  return new GraphQLError(message, { extensions: { http: { status, headers } }, originalError: badInput(message) });
}

/** A request that did not run: 400 to clients of application/graphql-response+json, 200 to those of application/json. */
function inRequest(error: GraphQLError): GraphQLError {
  return withStatus(error, { status: ERROR_CODES[error.extensions.code as ErrorCode], spec: true });
}

function withStatus(error: GraphQLError, http: NonNullable<GraphQLErrorExtensions['http']>): GraphQLError {
  return relabel(error, error.message, { ...error.extensions, http });
}

/** Errors of yoga's own, and those thrown to it, in the contract's codes; their HTTP status is kept. */
function asCode(gate: Gate, error: unknown): GraphQLError {
  const http = error instanceof GraphQLError ? error.extensions.http : undefined;
  const known = http?.status === 413 ? new ChatError('TOO_LARGE', 'The body is too large.') : error;
  const masked = gate.mask(known);
  const bearer = masked.extensions.code === 'UNAUTHENTICATED' && { headers: { 'www-authenticate': 'Bearer' } };
  return withStatus(masked, { status: ERROR_CODES[masked.extensions.code as ErrorCode], ...http, ...bearer });
}
