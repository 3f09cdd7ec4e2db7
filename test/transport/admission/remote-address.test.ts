import type { IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import { readConfig } from '../../../src/config.ts';
import { createRemoteAddresses, networkOf } from '../../../src/transport/admission/remote-address.ts';

const request = (remoteAddress: string, headers: Record<string, string> = {}) =>
  ({ socket: { remoteAddress }, headers }) as unknown as IncomingMessage;

test('an IPv6 network of 64 bits counts as one client, an IPv4 address as itself', () => {
  for (const address of ['2001:db8:0:1::1', '2001:DB8:0:1:ffff:ffff:ffff:ffff', '2001:0db8:0000:0001::'])
    expect(networkOf(address)).toBe('2001:db8:0:1');
  expect(networkOf('::1')).toBe('0:0:0:0');
  expect(networkOf('192.0.2.1')).toBe('192.0.2.1');
});

test('forwarded addresses may have ports, brackets or IPv6 mapping, and count up to the last trusted proxy', () => {
  const { addressOf } = createRemoteAddresses(readConfig({ TRUSTED_PROXIES: '10.0.0.0/8, 2001:db8::/32' }));
  const from = (remote: string, forwarded: string) => addressOf(request(remote, { 'x-forwarded-for': forwarded }));
  expect(from('10.0.0.1', '192.0.2.1')).toBe('192.0.2.1');
  expect(from('::ffff:10.0.0.1', '192.0.2.1:4711')).toBe('192.0.2.1');
  expect(from('2001:db8::1', '[2001:dead::2]:80')).toBe('2001:dead::2');
  expect(from('10.0.0.1', '1.1.1.1, 192.0.2.1, 10.9.9.9')).toBe('192.0.2.1');
  expect(from('10.0.0.1', 'nonsense')).toBe('10.0.0.1');
  expect(from('192.0.2.9', '1.1.1.1')).toBe('192.0.2.9');
});

test('a proxy is not a gateway, even if it is listed as one', () => {
  const { isGateway } = createRemoteAddresses(
    readConfig({ TRUSTED_PROXIES: '10.0.0.1', LEGACY_GATEWAYS: '10.0.0.0/24' }),
  );
  expect(isGateway(request('10.0.0.1'))).toBe(false);
  expect(isGateway(request('10.0.0.2', { 'x-forwarded-for': '10.0.0.1' }))).toBe(true);
  expect(isGateway(request('192.0.2.1', { 'x-forwarded-for': '10.0.0.2' }))).toBe(false);
});
