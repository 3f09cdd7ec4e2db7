import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readConfig } from '../src/config.ts';

describe('the configuration', () => {
  test('has a default for everything', () => {
    expect(readConfig({})).toMatchObject({
      ...{
        port: 4000,
        host: '127.0.0.1',
        store: { kind: 'sqlite', path: 'data/kredichat.db' },
        introspection: true,
        legacyPageSize: 20,
      },
      limits: { frameBytes: 262_144, unsentBytes: 1_048_576, messagesPerMinute: 600, messageBurst: 60, depth: 10 },
    });
    expect(readConfig({ PORT: '', STORE_URL: '' })).toEqual(readConfig({}));
  });

  test('takes the values of variables', () => {
    expect(readConfig({ STORE_URL: 'memory:' }).store).toEqual({ kind: 'sqlite', path: ':memory:' });
    expect(readConfig({ STORE_URL: 'sqlite:/var/lib/k.db' }).store).toEqual({ kind: 'sqlite', path: '/var/lib/k.db' });
    expect(readConfig({ STORE_URL: 'sqlite:./k.db' }).store).toEqual({ kind: 'sqlite', path: './k.db' });
    expect(readConfig({ STORE_URL: 'sqlite::memory:' }).store).toEqual({ kind: 'sqlite', path: ':memory:' });
    const url = 'mongodb://a,b/chat?replicaSet=rs';
    expect(readConfig({ STORE_URL: url }).store).toEqual({ kind: 'mongodb', url });
    expect(readConfig({ ALLOWED_ORIGINS: 'https://a.example, http://b.example:81' }).allowedOrigins).toEqual([
      'https://a.example',
      'http://b.example:81',
    ]);
    const list = 'HTTPS://A.Example:443,http://a.example:80, capacitor://localhost, tauri://Localhost, app://x.y:1';
    expect(readConfig({ ALLOWED_ORIGINS: list }).allowedOrigins).toEqual([
      ...['https://a.example', 'http://a.example', 'capacitor://localhost', 'tauri://localhost', 'app://x.y:1'],
    ]);
    expect(readConfig({ KEEP_ALIVE_SECONDS: '5' }).keepAliveMs).toBe(5000);
    expect(readConfig({ HOST: '0.0.0.0', ALLOW_INSECURE_DEV_AUTH: '1' }).host).toBe('0.0.0.0');
    for (const BASE_PATH of ['/chat', '/apps/kredi.chat', '/...', '/~a_b-c']) {
      expect(readConfig({ BASE_PATH }).basePath).toBe(BASE_PATH);
    }
    for (const HOST of ['localhost', '::1', '127.3.2.1']) expect(readConfig({ HOST }).host).toBe(HOST);
  });

  test.each([
    ['PORT', 'x'],
    ['PORT', '-1'],
    ['PORT', '65536'],
    ['PORT', '4000.5'],
    ['HOST', '0.0.0.0'],
    ['HOST', '127.example.com'],
    ['BASE_PATH', '/'],
    ['BASE_PATH', 'chat'],
    ['BASE_PATH', '/chat/'],
    ['BASE_PATH', '//chat'],
    ['BASE_PATH', '/a b'],
    ['BASE_PATH', '/..'],
    ['BASE_PATH', '/a/./b'],
    ['BASE_PATH', '/%2e'],
    ['STORE_URL', 'postgres://x'],
    ['STORE_URL', 'sqlite:'],
    ['AUTH_MODE', 'none'],
    ['ALLOW_INSECURE_DEV_AUTH', 'yes'],
    ['ALLOWED_ORIGINS', '*'],
    ['ALLOWED_ORIGINS', 'https://a.example/'],
    ['ALLOWED_ORIGINS', 'https://*.example'],
    ['ALLOWED_ORIGINS', 'https://user@a.example'],
    ['ALLOWED_ORIGINS', 'null'],
    ['ALLOWED_ORIGINS', 'file://'],
    ['ALLOWED_ORIGINS', 'localhost:3000'],
    ['ALLOWED_ORIGINS', 'capacitor://localhost/app'],
    ['ALLOWED_ORIGINS', 'https://a.example,'],
    ['KEEP_ALIVE_SECONDS', '0'],
    ['RATE_LIMIT_MESSAGES', '-1'],
    ['LEGACY_PAGE_SIZE', '0'],
    ['LEGACY_PAGE_SIZE', '101'],
    ['JWT_SECRET', 'x'.repeat(31)],
    ['JWKS_URL', 'keys'],
    ['JWKS_URL', 'http://login.example.com/keys'],
    ['JWT_LEEWAY_SECONDS', '-1'],
    ['TRUSTED_PROXIES', 'proxy.example.com'],
    ['TRUSTED_PROXIES', '10.0.0.0/33'],
    ['LEGACY_GATEWAYS', '10.0.0.1,'],
    ['MAX_COST', '0'],
    ['INTROSPECTION', 'true'],
    ['LOG_LEVEL', 'loud'],
  ])('refuses %s=%s in one line that names it', (name, value) => {
    expect(() => readConfig({ [name]: value })).toThrow(new RegExp(`^${name} [^\n]+$`));
  });

  test.each([
    ['sqlite://data/x.db', 'data/x.db'],
    ['sqlite://./x.db', 'x.db'],
    ['sqlite:///var/lib/x.db', 'var/lib/x.db'],
    ['sqlite:////var/lib/x.db', 'var/lib/x.db'],
    ['sqlite:file:x.db', 'x.db'],
    ['sqlite:file:///data/x.db?mode=ro', 'data/x.db'],
    ['sqlite:data/x.db?mode=ro', 'data/x.db'],
    ['sqlite://', 'FILE'],
  ])('refuses STORE_URL=%s, which programs interpret differently, with the valid spellings', (url, file) => {
    const spellings = `sqlite:${file} from the working directory, or sqlite:/${file} from the root`;
    expect(() => readConfig({ STORE_URL: url })).toThrow(`STORE_URL must be ${spellings}`);
  });

  test.each(['sqlite:///:memory:', 'sqlite:memory:', 'sqlite:file::memory:?cache=shared'])(
    'refuses STORE_URL=%s with the spelling of a store in memory',
    (url) => {
      expect(() => readConfig({ STORE_URL: url })).toThrow('STORE_URL must be memory:');
    },
  );

  test.each(['~/x.db', '$HOME/x.db', '%DATA%/x.db', '"x.db"', "'x.db'", ' x.db', 'x.db '])(
    'refuses the file %j, which a shell would have expanded',
    (file) => {
      expect(() => readConfig({ STORE_URL: `sqlite:${file}` })).toThrow('STORE_URL must be a whole path');
    },
  );

  test('with tokens has exactly one way to check them, and is closed by default', () => {
    const JWT_SECRET = 'é'.repeat(16);
    expect(readConfig({ AUTH_MODE: 'jwt', JWT_SECRET, HOST: '0.0.0.0' })).toMatchObject({
      ...{ introspection: false, loopbackOrigins: false, trustedProxies: [], legacyGateways: [] },
      auth: { mode: 'jwt', issuer: null, audience: null, emailClaim: 'email', roleClaim: 'role', leewaySeconds: 1 },
    });
    const JWKS_URL = 'http://127.0.0.1:8080/keys';
    expect(readConfig({ AUTH_MODE: 'jwt', JWKS_URL, INTROSPECTION: 'on' }).introspection).toBe(true);
    expect(() => readConfig({ AUTH_MODE: 'jwt' })).toThrow(/^AUTH_MODE [^\n]+$/);
    expect(() => readConfig({ AUTH_MODE: 'jwt', JWT_SECRET, JWKS_URL })).toThrow(/^JWT_SECRET [^\n]+$/);
    // A configured key means that tokens must be checked: refuse the default `dev`, which checks none.
    expect(() => readConfig({ JWT_SECRET })).toThrow(/^AUTH_MODE [^\n]+$/);
  });

  test('is all in docs/CONFIGURATION.md, with its defaults and ranges', () => {
    const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');
    const rows = [...read('docs/CONFIGURATION.md').matchAll(/^\| `([A-Z_]+)` \| (.*?) \| (.*?) \|/gm)];
    const documented = new Map(rows.map(([, name, fallback, allowed]) => [name, { fallback, allowed }]));
    const entries = [...read('src/config.ts').matchAll(/^ {2}([A-Z_]+): ?(.*?)(?=^ {2}[A-Z_]+:|^\}\);)/gms)];
    expect([...documented.keys()].sort()).toEqual(entries.map(([, name]) => name).sort());
    for (const [, name, definition = ''] of entries) {
      const [, number, min, max] = /^whole\(([\d_]+), ([\d_]+), ([\d_]+)\)/.exec(definition) ?? [];
      const [, text] = /\.default\('([^']+)'\)/.exec(definition) ?? [];
      const plain = (digits: string | undefined) => digits?.replaceAll('_', '');
      if (number) {
        const allowed = `${plain(min)} to ${plain(max)}`;
        expect(documented.get(name), name).toEqual({ fallback: plain(number), allowed });
      } else if (text) expect(documented.get(name)?.fallback, name).toBe(`\`${text}\``);
    }
  });
});
