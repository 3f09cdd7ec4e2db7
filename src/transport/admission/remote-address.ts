// Not ipaddr.js: it reads `010.0.0.1` as 8.0.0.1 and `::10.0.0.1` as 10.0.0.1, and throws on the link-local address of
// an interface such as `eth0.100`. `isIP` would still have to check every text first; `BlockList` then does the rest.

import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { type Config, isLoopback } from '../../config.ts';

export type RemoteAddresses = ReturnType<typeof createRemoteAddresses>;

export function createRemoteAddresses(config: Pick<Config, 'trustedProxies' | 'legacyGateways'>) {
  const isProxy = createNetworkMatcher(config.trustedProxies);
  const isGateway = createNetworkMatcher(config.legacyGateways);
  return {
    /** The client's address: the connected peer, or the address that the nearest trusted proxies report. */
    addressOf(request: IncomingMessage): string {
      let address = connectedAddress(request.socket);
      // Each proxy appends the address of its peer; entries before the last untrusted address are not reliable.
      const hops = String(request.headers['x-forwarded-for'] ?? '').split(',');
      while (isProxy(address)) {
        const hop = normalize(hops.pop()?.trim());
        if (isIP(hop) === 0) break;
        address = hop;
      }
      return address;
    },
    /** Whether several clients may share the address: a trusted proxy's, or loopback, where a proxy may run. */
    isShared: (address: string): boolean => isProxy(address) || isLoopback(address),
    /** Whether the request comes from a gateway that may assert the address of a legacy client. */
    isGateway({ socket }: Pick<IncomingMessage, 'socket'>): boolean {
      const address = connectedAddress(socket);
      // A proxy forwards headers of its clients.
      return isGateway(address) && !isProxy(address);
    },
  };
}

/** The address of the connected peer, which may be a proxy. */
export function connectedAddress({ remoteAddress }: Pick<Socket, 'remoteAddress'>): string {
  return normalize(remoteAddress);
}

/**
 * The unit that address quotas count: an IPv4 address, or the first 64 bits of an IPv6 address, as one client usually
 * has such a network to itself (RFC 4291, section 2.5.4).
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

/** An address without brackets, port and the IPv6 mapping of an IPv4 address (RFC 4291, section 2.5.5.2). */
function normalize(address = ''): string {
  return address
    .replace(/^\[(.*)\](:\d+)?$/, '$1')
    .replace(/^::ffff:(?=\d+\.)/i, '')
    .replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1');
}

/** Whether an address is in one of these networks, each an address or in CIDR notation. */
export function createNetworkMatcher(list: readonly string[]): (address: string) => boolean {
  const networks = new BlockList();
  for (const entry of list) {
    const [address = '', bits] = entry.split('/');
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
    networks.addSubnet(address, Number(bits ?? (family === 'ipv4' ? 32 : 128)), family);
  }
  return (address) => isIP(address) !== 0 && networks.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6');
}
