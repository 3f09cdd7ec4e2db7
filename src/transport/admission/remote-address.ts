import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { type Config, isLoopback, normalizeOrigin } from '../../config.ts';

/** Where a request comes from, before anybody says who it is from. */
export interface Peers {
  /** The client's address: what is connected, or what the nearest trusted proxies say is behind them. */
  addressOf(request: IncomingMessage): string;
  /** Whether many may be behind the address: it is a trusted proxy's, or of this machine, where there may be one. */
  isShared(address: string): boolean;
  /** Whether the request is sent by a gateway that may say who a legacy client is. */
  isGateway(request: IncomingMessage): boolean;
  /**
   * Whether a browser page of this origin may talk to the server (RFC 6454): the server's own (its scheme, host and
   * port), those allowed, and in development any loopback origin. Without an `Origin` header the client is no browser;
   * the origin `null` is refused.
   */
  mayConnect(request: IncomingMessage): boolean;
}

type PeerConfig = Pick<Config, 'host' | 'allowedOrigins' | 'loopbackOrigins' | 'trustedProxies' | 'legacyGateways'>;

export function createPeers({
  host,
  allowedOrigins,
  loopbackOrigins,
  trustedProxies,
  legacyGateways,
}: PeerConfig): Peers {
  const isProxy = matcher(trustedProxies);
  const isGateway = matcher(legacyGateways);
  return {
    addressOf(request) {
      let address = connectedAddress(request.socket);
      // Each proxy adds at the end whom it got the request from; what stands before the last untrusted one is hearsay.
      const hops = String(request.headers['x-forwarded-for'] ?? '').split(',');
      while (isProxy(address)) {
        const hop = plain(hops.pop()?.trim());
        if (isIP(hop) === 0) break;
        address = hop;
      }
      return address;
    },
    isShared: (address) => isProxy(address) || isLoopback(address),
    isGateway({ socket }) {
      const address = connectedAddress(socket);
      // A proxy passes on what its clients say.
      return isGateway(address) && !isProxy(address);
    },
    mayConnect({ headers, socket }) {
      if (headers.origin === undefined) return true;
      const origin = normalizeOrigin(headers.origin);
      if (!origin) return false;
      if (allowedOrigins.includes(origin)) return true;
      const toLoopback = isLoopback(new URL(origin).hostname);
      if (toLoopback && loopbackOrigins) return true;
      // In development a foreign name that resolves to a loopback address is not the server's own (DNS rebinding).
      if (!toLoopback && loopbackOrigins && isLoopback(host)) return false;
      const schemes = ownSchemes(headers, isProxy(connectedAddress(socket)));
      return schemes.some((scheme) => normalizeOrigin(`${scheme}://${headers.host}`) === origin);
    },
  };
}

/**
 * The schemes under which the server may have been asked. TLS ends at a proxy, so only `X-Forwarded-Proto` tells. That
 * it was https is believed of any peer: no page of a browser can set the field on a WebSocket, or elsewhere unasked.
 * That it was not is believed of a trusted proxy, as one behind another may know no better. Otherwise either scheme is
 * our own.
 */
function ownSchemes({ 'x-forwarded-proto': forwarded }: IncomingHttpHeaders, trusted: boolean): readonly string[] {
  const [proto = ''] = String(forwarded ?? '').split(',');
  // Some proxies name the schemes of WebSockets.
  if (/^\s*(https|wss)\s*$/i.test(proto)) return ['https'];
  return trusted && /^\s*(http|ws)\s*$/i.test(proto) ? ['http'] : ['http', 'https'];
}

/** The address that a connection comes from. */
export function connectedAddress({ remoteAddress }: Pick<Socket, 'remoteAddress'>): string {
  return plain(remoteAddress);
}

/**
 * What is counted as one client: an IPv4 address, or the 64 bits of an IPv6 address that are one network, as whoever has
 * such a network has all of it (RFC 4291, section 2.5.4).
 */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const [front = '', back] = address.split('::');
  const head = front.split(':').filter(Boolean);
  const rest = (back ?? '').split(':').filter(Boolean);
  const groups = [...head, ...Array<string>(Math.max(0, 8 - head.length - rest.length)).fill('0'), ...rest];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}

/**
 * An address alone: without a port, and an IPv4 address as itself where a socket for both kinds names it in IPv6
 * (RFC 4291, section 2.5.5.2).
 */
function plain(address = ''): string {
  return address
    .replace(/^\[(.*)\](:\d+)?$/, '$1')
    .replace(/^::ffff:(?=\d+\.)/i, '')
    .replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1');
}

function matcher(list: readonly string[]): (address: string) => boolean {
  const networks = new BlockList();
  for (const entry of list) {
    const [address = '', bits] = entry.split('/');
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
    networks.addSubnet(address, Number(bits ?? (family === 'ipv4' ? 32 : 128)), family);
  }
  return (address) => isIP(address) !== 0 && networks.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6');
}
