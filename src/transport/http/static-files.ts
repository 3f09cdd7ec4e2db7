// Not sirv: it sends `br` to a client that refuses it (`br;q=0`), serves the compressed files under their own names,
// and ends the process if a file is missing, as during a build beside a running server.

import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname } from 'node:path';
import Negotiator from 'negotiator';

const PROJECT = new URL('../../../', import.meta.url);
const INBOX = new URL('dist/web/', PROJECT);

/** Documents served as plain text. */
const DOCUMENTS = [
  'README',
  'docs/CLIENT',
  'docs/CONFIGURATION',
  'docs/OPERATIONS',
  'docs/PROTOCOL',
  'docs/RECORD',
  'docs/SECURITY',
].map((name) => `${name}.md`);

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The page may load its own files and connect to its own server only. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** A file with its compressed forms. */
interface StaticFile {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** By content coding, the preferred first. */
  readonly compressed: readonly (readonly [coding: string, body: Buffer])[];
}

/**
 * Serves the inbox page at `/`, its files and the documents, all read once. `authMode` tells the page how users sign
 * in. The handler returns false if the path is none of these.
 */
export function createStaticFiles(authMode: string) {
  const served = new Map<string, StaticFile>();
  const html = readFileSync(new URL('index.html', INBOX), 'utf8').replace('%AUTH_MODE%', authMode);
  served.set('/', {
    // Revalidated on each use, so that a new version appears; its files have new names in each version.
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-cache',
      'content-security-policy': POLICY,
    },
    body: Buffer.from(html),
    compressed: [],
  });
  const files = readdirSync(new URL('assets/', INBOX));
  const asset = (name: string) => readFileSync(new URL(`assets/${name}`, INBOX));
  for (const name of files.filter((file) => extname(file) in TYPES)) {
    const compressed = [['br', `${name}.br`] as const, ['gzip', `${name}.gz`] as const]
      .filter(([, file]) => files.includes(file))
      .map(([coding, file]) => [coding, asset(file)] as const);
    const headers = {
      'content-type': TYPES[extname(name)] ?? '',
      'cache-control': 'public, max-age=31536000, immutable',
      vary: 'accept-encoding',
    };
    served.set(`/assets/${name}`, { headers, body: asset(name), compressed });
  }
  for (const file of DOCUMENTS) {
    const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache' };
    const body = readFileSync(new URL(file, PROJECT));
    served.set(`/docs/${file.replace('docs/', '')}`, { headers, body, compressed: [] });
  }

  return (request: IncomingMessage, response: ServerResponse, pathname: string): boolean => {
    const file = served.get(pathname);
    if (!file) return false;
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return true;
    }
    const accepted = new Negotiator(request);
    const [coding, body] = file.compressed.find(([name]) => accepted.encoding([name])) ?? ['', file.body];
    response.writeHead(200, {
      ...file.headers,
      ...(coding !== '' && { 'content-encoding': coding }),
      'content-length': body.length,
    });
    response.end(request.method === 'HEAD' ? undefined : body);
    return true;
  };
}
