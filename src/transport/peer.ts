import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import type { Config } from '../config.ts';
import { isLoopback } from '../config.ts';

/** Where a request comes from, before anybody says who it is from. */
export interface Peers {
  /** The client's address: what is connected, or what the nearest trusted proxies say is behind them. */
  addressOf(request: IncomingMessage): string;
  /** Whether the request is sent by a gateway that may say who a legacy client is. */
  isGateway(request: IncomingMessage): boolean;
  /**
   * Whether a browser page of this origin may talk to the server (RFC 6454): the server's own, those allowed, and in
   * development any loopback origin. Without an `Origin` header the client is no browser; the origin `null` is nobody's.
   */
  mayConnect(request: IncomingMessage): boolean;
}

type PeerConfig = Pick<Config, 'allowedOrigins' | 'loopbackOrigins' | 'trustedProxies' | 'legacyGateways'>;

export function createPeers({ allowedOrigins, loopbackOrigins, trustedProxies, legacyGateways }: PeerConfig): Peers {
  const isProxy = matcher(trustedProxies);
  const isGateway = matcher(legacyGateways);
  return {
    addressOf(request) {
      let address = plain(request.socket.remoteAddress);
      // Each proxy adds at the end whom it got the request from; what stands before the last untrusted one is hearsay.
      const hops = String(request.headers['x-forwarded-for'] ?? '').split(',');
      while (isProxy(address)) {
        const hop = plain(hops.pop()?.trim());
        if (isIP(hop) === 0) break;
        address = hop;
      }
      return address;
    },
    isGateway: (request) => isGateway(plain(request.socket.remoteAddress)),
    mayConnect({ headers: { origin, host } }) {
      if (origin === undefined) return true;
      if (!URL.canParse(origin)) return false;
      const url = new URL(origin);
      return url.host === host || allowedOrigins.includes(origin) || (loopbackOrigins && isLoopback(url.hostname));
    },
  };
}

/** An IPv4 address as itself where a socket for both kinds names it in IPv6 (RFC 4291, section 2.5.5.2). */
function plain(address = ''): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
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
