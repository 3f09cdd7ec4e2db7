import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { startServer } from '../support/server.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const namesIn = (text: string) =>
  new Set(
    [...text.matchAll(/\b(?:kredichat|process|nodejs)_\w+/g)].map(([name]) =>
      name.replace(/_(?:bucket|sum|count)$/, ''),
    ),
  );

test('the metrics are those of the table; dashboard and alerts name no others', async () => {
  const { url } = await startServer();
  const scraped = await (await fetch(`${url}/metrics`)).text();
  const metrics = [...scraped.matchAll(/^# TYPE (\w+)/gm)].map(([, name = '']) => name);
  const [, chapter = ''] = /\n## Metrics\n(.*?)\n## /s.exec(read('docs/OPERATIONS.md')) ?? [];
  const rows = chapter.split('\n').filter((line) => line.startsWith('| `'));
  expect([...namesIn(rows.map((row) => row.split('|')[1]).join())].sort()).toEqual([...metrics].sort());

  const { panels } = JSON.parse(read('deploy/dashboard.json'));
  const { groups } = parse(read('deploy/alerts.yaml'));
  const expressions = {
    dashboard: panels.flatMap((panel: { targets: { expr: string }[] }) => panel.targets.map(({ expr }) => expr)),
    alerts: groups.flatMap((group: { rules: { expr: string }[] }) => group.rules.map(({ expr }) => expr)),
  };
  for (const all of Object.values(expressions)) {
    expect(all.length).toBeGreaterThan(5);
    for (const expr of all) for (const name of namesIn(expr)) expect(metrics, expr).toContain(name);
  }
});
