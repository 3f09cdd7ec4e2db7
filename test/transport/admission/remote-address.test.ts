import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/config.ts';
import { createPeers, networkOf } from '../../../src/transport/admission/remote-address.ts';

const request = (remoteAddress: string, headers: Record<string, string> = {}) =>
  ({ socket: { remoteAddress }, headers }) as unknown as IncomingMessage;

test('an IPv6 network of 64 bits counts as one client, an IPv4 address as itself', () => {
  for (const address of ['2001:db8:0:1::1', '2001:DB8:0:1:ffff:ffff:ffff:ffff', '2001:0db8:0000:0001::'])
    expect(networkOf(address)).toBe('2001:db8:0:1');
  expect(networkOf('::1')).toBe('0:0:0:0');
  expect(networkOf('192.0.2.1')).toBe('192.0.2.1');
});

test('what a proxy says is read with ports, in brackets and in IPv6 clothes, and only as far as proxies go', () => {
  const { addressOf } = createPeers(readConfig({ TRUSTED_PROXIES: '10.0.0.0/8, 2001:db8::/32' }));
  const from = (remote: string, forwarded: string) => addressOf(request(remote, { 'x-forwarded-for': forwarded }));
  expect(from('10.0.0.1', '192.0.2.1')).toBe('192.0.2.1');
  expect(from('::ffff:10.0.0.1', '192.0.2.1:4711')).toBe('192.0.2.1');
  expect(from('2001:db8::1', '[2001:dead::2]:80')).toBe('2001:dead::2');
  expect(from('10.0.0.1', '1.1.1.1, 192.0.2.1, 10.9.9.9')).toBe('192.0.2.1');
  expect(from('10.0.0.1', 'nonsense')).toBe('10.0.0.1');
  expect(from('192.0.2.9', '1.1.1.1')).toBe('192.0.2.9');
});

test('a proxy is no gateway, whatever list it is on', () => {
  const { isGateway } = createPeers(readConfig({ TRUSTED_PROXIES: '10.0.0.1', LEGACY_GATEWAYS: '10.0.0.0/24' }));
  expect(isGateway(request('10.0.0.1'))).toBe(false);
  expect(isGateway(request('10.0.0.2', { 'x-forwarded-for': '10.0.0.1' }))).toBe(true);
  expect(isGateway(request('192.0.2.1', { 'x-forwarded-for': '10.0.0.2' }))).toBe(false);
});

test('in development a name that was made to point here is no page of ours', () => {
  const headers = { origin: 'http://evil.example:4000', host: 'evil.example:4000' };
  const insecure = { HOST: '0.0.0.0', ALLOW_INSECURE_DEV_AUTH: '1' };
  expect(createPeers(readConfig({})).mayConnect(request('127.0.0.1', headers))).toBe(false);
  expect(createPeers(readConfig(insecure)).mayConnect(request('192.0.2.1', headers))).toBe(true);
});

describe('the own origin', () => {
  const jwt = { AUTH_MODE: 'jwt', JWT_SECRET: 'x'.repeat(32) };
  const { mayConnect } = createPeers(readConfig({ ...jwt, TRUSTED_PROXIES: '10.0.0.1' }));
  const may = (origin: string, host: string, proto?: string, remote = '192.0.2.1') =>
    mayConnect(request(remote, { origin, host, ...(proto !== undefined && { 'x-forwarded-proto': proto }) }));

  test('is its scheme, host and port, however they are spelled', () => {
    for (const [origin, host] of [
      ['https://chat.example.com', 'chat.example.com'],
      ['https://chat.example.com', 'chat.example.com:443'],
      ['https://chat.example.com', 'Chat.Example.com'],
      ['http://chat.example.com', 'chat.example.com:80'],
      ['https://chat.example.com:8443', 'chat.example.com:8443'],
      ['http://127.0.0.1:4000', '127.0.0.1:4000'],
    ] as const)
      expect(may(origin, host), `${origin} ${host}`).toBe(true);
    for (const [origin, host] of [
      ['https://chat.example.com', 'chat.example.com:80'],
      ['http://chat.example.com', 'chat.example.com:443'],
      ['https://chat.example.com:8443', 'chat.example.com'],
      ['https://example.com', 'chat.example.com'],
      ['ftp://chat.example.com', 'chat.example.com'],
      ['capacitor://localhost', 'localhost'],
      ['null', 'null'],
      ['https://chat.example.com/', 'chat.example.com/'],
    ] as const)
      expect(may(origin, host), `${origin} ${host}`).toBe(false);
  });

  test('is not that of a page without TLS where the server is asked by TLS', () => {
    for (const proto of ['https', 'HTTPS', 'wss', 'https, http', ' https ']) {
      for (const remote of ['192.0.2.1', '10.0.0.1']) {
        expect(may('http://chat.example.com', 'chat.example.com', proto, remote), `${proto} ${remote}`).toBe(false);
        expect(may('https://chat.example.com', 'chat.example.com', proto, remote), `${proto} ${remote}`).toBe(true);
      }
    }
    for (const proto of ['http', 'ws']) {
      expect(may('http://chat.example.com', 'chat.example.com', proto, '10.0.0.1'), proto).toBe(true);
      expect(may('https://chat.example.com', 'chat.example.com', proto, '10.0.0.1'), proto).toBe(false);
      // A proxy that is not listed may be behind one that ends TLS.
      expect(may('https://chat.example.com', 'chat.example.com', proto), proto).toBe(true);
    }
    for (const proto of ['', 'on', 'nonsense'])
      expect(may('https://chat.example.com', 'chat.example.com', proto)).toBe(true);
  });
});
