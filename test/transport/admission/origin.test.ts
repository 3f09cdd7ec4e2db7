import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/config.ts';
import { createOriginCheck } from '../../../src/transport/admission/origin.ts';

const request = (remoteAddress: string, headers: Record<string, string> = {}) =>
  ({ socket: { remoteAddress }, headers }) as unknown as IncomingMessage;

test('in development a foreign name that resolves to this server is not an own origin', () => {
  const headers = { origin: 'http://evil.example:4000', host: 'evil.example:4000' };
  const insecure = { HOST: '0.0.0.0', ALLOW_INSECURE_DEV_AUTH: '1' };
  expect(createOriginCheck(readConfig({}))(request('127.0.0.1', headers))).toBe(false);
  expect(createOriginCheck(readConfig(insecure))(request('192.0.2.1', headers))).toBe(true);
});

describe('the own origin', () => {
  const jwt = { AUTH_MODE: 'jwt', JWT_SECRET: 'x'.repeat(32) };
  const isAllowedOrigin = createOriginCheck(readConfig({ ...jwt, TRUSTED_PROXIES: '10.0.0.1' }));
  const may = (origin: string, host: string, proto?: string, remote = '192.0.2.1') =>
    isAllowedOrigin(request(remote, { origin, host, ...(proto !== undefined && { 'x-forwarded-proto': proto }) }));

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

  test('is not that of a page without TLS if the request came by TLS', () => {
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
