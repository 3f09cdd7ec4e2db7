import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { type Config, isLoopback, normalizeOrigin } from '../../config.ts';
import { connectedAddress, createNetworkMatcher } from './remote-address.ts';

type OriginConfig = Pick<Config, 'host' | 'allowedOrigins' | 'loopbackOrigins' | 'trustedProxies'>;

/** Whether a request is from an allowed origin; see `createOriginCheck`. */
export type OriginCheck = (request: IncomingMessage) => boolean;

/**
 * Allows the origins (RFC 6454) of the server itself (its scheme, host and port), those of the configuration, and in
 * development any loopback origin. A request without `Origin` is not from a browser and allowed; the origin `null` is
 * refused.
 */
export function createOriginCheck(config: OriginConfig): OriginCheck {
  const { host, allowedOrigins, loopbackOrigins, trustedProxies } = config;
  const isProxy = createNetworkMatcher(trustedProxies);
  return ({ headers, socket }) => {
    if (headers.origin === undefined) return true;
    const origin = normalizeOrigin(headers.origin);
    if (!origin) return false;
    if (allowedOrigins.includes(origin)) return true;
    const toLoopback = isLoopback(new URL(origin).hostname);
    if (toLoopback && loopbackOrigins) return true;
    // In development, a foreign name that resolves to a loopback address is refused (DNS rebinding).
    if (!toLoopback && loopbackOrigins && isLoopback(host)) return false;
    const schemes = ownSchemes(headers, isProxy(connectedAddress(socket)));
    return schemes.some((scheme) => normalizeOrigin(`${scheme}://${headers.host}`) === origin);
  };
}

/**
 * The schemes that the client may have used. TLS ends at a proxy, which reports the scheme in `X-Forwarded-Proto`.
 * `https` is accepted from any peer: a browser page cannot set the field on a WebSocket, or elsewhere without a
 * preflight. `http` is accepted from a trusted proxy only: another proxy may be behind one that ends TLS. Otherwise
 * both schemes are the server's own.
 */
function ownSchemes({ 'x-forwarded-proto': forwarded }: IncomingHttpHeaders, trusted: boolean): readonly string[] {
  const [proto = ''] = String(forwarded ?? '').split(',');
  // Some proxies send the WebSocket scheme.
  if (/^\s*(https|wss)\s*$/i.test(proto)) return ['https'];
  return trusted && /^\s*(http|ws)\s*$/i.test(proto) ? ['http'] : ['http', 'https'];
}
