import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { readConfig } from '../src/config.ts';

const ROOT = join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

// biome-ignore lint/suspicious/noExplicitAny: manifests of any shape; the test fails where they differ
type Manifest = any;

const manifests: Manifest[] = parseAllDocuments(read('deploy/kubernetes.yaml'), { strict: true }).map((document) => {
  expect(document.errors).toEqual([]);
  return document.toJS();
});
const manifest = (kind: string) => manifests.find((each) => each.kind === kind);
const compose: Manifest = parse(read('compose.yaml'), { merge: true });
const unit = read('deploy/kredichat.service');
const dockerfile = read('Dockerfile');
/** Environment variables of the image. */
const image = Object.fromEntries((/^ENV (.*)$/m.exec(dockerfile)?.[1] ?? '').split(' ').map((each) => each.split('=')));

/** Seconds of a service manager after the signal to stop, beyond the drain's delay and spread. */
function spareSeconds(seconds: number, environment: Record<string, string>): number {
  const { drainDelayMs, drainSpreadMs } = readConfig(environment);
  return seconds - (drainDelayMs + drainSpreadMs) / 1000;
}

test('the image starts what the package has, without root, and with a valid configuration', () => {
  const paths = [...dockerfile.matchAll(/\/kredichat\/(dist\/[\w.]+)/g)].map(([, path = '']) => join(ROOT, path));
  expect(paths.filter(existsSync)).toHaveLength(2);
  expect(dockerfile).toMatch(/^USER [1-9]\d*:[1-9]\d*$/m);
  expect(dockerfile).toMatch(/^ENTRYPOINT \["kredichat"\]\nCMD \["serve"\]$/m);
  expect(dockerfile).toContain(`EXPOSE ${image.PORT}\n`);
  expect(dockerfile).toContain(`VOLUME ${/sqlite:(.*)\/kredichat.db/.exec(image.STORE_URL)?.[1]}\n`);
  // Without a key the image does not start.
  expect(() => readConfig(image)).toThrow(/^HOST /);
  const ignored = read('.dockerignore').split('\n');
  for (const name of ['src', 'web', 'schema', 'examples', 'docs']) expect(ignored).not.toContain(name);
});

test('the services of the compose file have a valid configuration, their volumes, and time to drain', () => {
  const { kredichat, 'kredichat-mongodb': onMongo } = compose.services;
  for (const { environment, ports, stop_grace_period, read_only } of [kredichat, onMongo]) {
    const set = Object.entries<string>(environment).map(([name, value]) => [
      name,
      value.replace(/^\$\{\w+:-(.*)\}$/, '$1'),
    ]);
    const config = readConfig({ ...image, ...Object.fromEntries(set), JWT_SECRET: 'x'.repeat(32) });
    expect(ports[0]).toMatch(new RegExp(`^127\\.0\\.0\\.1:\\d+:${config.port}$`));
    expect(spareSeconds(Number.parseInt(stop_grace_period, 10), {})).toBeGreaterThanOrEqual(10);
    expect(read_only).toBe(true);
  }
  expect(kredichat.profiles).toBeUndefined();
  const hosts = /\/\/(.*?)\//.exec(onMongo.environment.STORE_URL)?.[1]?.split(',') ?? [];
  expect(hosts).toHaveLength(3);
  for (const host of hosts) {
    const { profiles, command, volumes } = compose.services[host];
    expect(profiles).toEqual(['mongodb']);
    expect(onMongo.environment.STORE_URL).toContain(`replicaSet=${command[command.indexOf('--replSet') + 1]}`);
    expect(compose.volumes).toHaveProperty(volumes[0].split(':')[0]);
  }
});

test.each(['Deployment', 'StatefulSet'])('the pods of the %s have a valid configuration, and time to drain', (kind) => {
  const { spec } = manifest(kind).spec.template;
  const [container] = spec.containers;
  const { data } = manifest('ConfigMap');
  const own = container.env.map(({ name, value = 'mongodb://a,b,c/kredichat?replicaSet=rs0' }: Manifest) => [
    name,
    value,
  ]);
  const environment = { ...image, ...data, ...Object.fromEntries(own) };
  const config = readConfig(environment);
  expect(config.store.kind).toBe(kind === 'Deployment' ? 'mongodb' : 'sqlite');
  expect(spareSeconds(spec.terminationGracePeriodSeconds, environment)).toBeGreaterThanOrEqual(10);
  expect(container.ports).toEqual([{ name: 'http', containerPort: config.port }]);
  expect(container.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'http' });
  for (const probe of ['livenessProbe', 'startupProbe'])
    expect(container[probe].httpGet).toEqual({ path: '/healthz', port: 'http' });
  expect(spec.securityContext.runAsNonRoot && container.securityContext.readOnlyRootFilesystem).toBe(true);
  const { labels } = manifest(kind).spec.template.metadata;
  for (const selector of [manifest('Service').spec.selector, manifest('PodDisruptionBudget').spec.selector.matchLabels])
    expect(labels).toMatchObject(selector);
});

test('the restore in containers is into the volume, the file and the image of the deployment', () => {
  const [, chapter = ''] = /\n## 6\. (.*?)\n## 7/s.exec(read('docs/DEPLOY.md')) ?? [];
  const pod: Manifest = parse(/<<'END'\n(.*?)\nEND\n/s.exec(chapter)?.[1] ?? '');
  const { metadata, spec } = manifest('StatefulSet');
  const [container] = spec.template.spec.containers;
  const [claim] = spec.volumeClaimTemplates;
  expect(pod.spec.volumes[0].persistentVolumeClaim.claimName).toBe(`${claim.metadata.name}-${metadata.name}-0`);
  expect(pod.spec.containers[0].image).toBe(container.image);
  expect(pod.spec.containers[0].volumeMounts).toEqual(container.volumeMounts);
  expect(pod.spec.securityContext).toMatchObject({
    runAsUser: 1000,
    fsGroup: spec.template.spec.securityContext.fsGroup,
  });
  const urls = [...chapter.matchAll(/ restore \/data\S+ --to (\S+)/g)].map(([, url]) => url);
  expect(urls).toEqual([image.STORE_URL, image.STORE_URL]);
});

test('systemd starts the package, gives it time to drain, and a folder that it may write to', () => {
  const [, bin] = /^ExecStart=.*\/\.bin\/(\S+) serve$/m.exec(unit) ?? [];
  expect(JSON.parse(read('package.json')).bin).toHaveProperty(bin ?? 'none');
  expect(spareSeconds(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]), {})).toBeGreaterThanOrEqual(10);
  const folder = `/var/lib/${/^StateDirectory=(\w+)$/m.exec(unit)?.[1]}/`;
  expect(unit).toContain(`STORE_URL=sqlite:${folder}`);
});

test('the proxies forward to the default port, and give up later than the heartbeat and before the server', () => {
  const { port, limits, keepAliveMs } = readConfig({});
  for (const file of ['deploy/nginx.conf', 'deploy/Caddyfile']) {
    const text = read(file);
    expect(text).toMatch(new RegExp(`^\\s*(server|reverse_proxy) 127\\.0\\.0\\.1:${port}\\b`, 'm'));
    const idle = Number(/^\s*keepalive(?:_timeout)? (\d+)s/m.exec(text)?.[1]);
    expect(idle * 1000).toBeLessThan(keepAliveMs);
  }
  for (const [, seconds] of read('deploy/nginx.conf').matchAll(/proxy_(?:read|send)_timeout (\d+)s/g))
    expect(Number(seconds) * 1000).toBeGreaterThan(2 * limits.heartbeatMs);
});

test('every variable that the files for deployment name exists', () => {
  const known = new Set([...read('src/config.ts').matchAll(/^ {2}([A-Z_]+):/gm)].map(([, name]) => name));
  const files = [
    'Dockerfile',
    'compose.yaml',
    'docs/DEPLOY.md',
    ...readdirSync(join(ROOT, 'deploy')).map((n) => `deploy/${n}`),
  ];
  const ours =
    /\b(?:PORT|HOST|[A-Z]+(?:_[A-Z]+)*_(?:URL|MODE|SECONDS|SECRET|ISSUER|AUDIENCE|PROXIES|ORIGINS|PATH|BYTES|AUTH))\b/g;
  for (const file of files)
    for (const [name] of read(file).matchAll(ours)) expect(known, `${file}: ${name}`).toContain(name);
});
