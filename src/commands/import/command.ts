import { appendFileSync, closeSync, openSync, readFileSync } from 'node:fs';
import type { StoreConfig } from '../../config.ts';
import { openStore } from '../open-store.ts';
import { withProgress } from '../progress.ts';
import { type Imported, importChat } from './import.ts';
import { openSource } from './source.ts';

/** Options of `kredichat import --from`, as on the command line. */
export interface ImportArguments {
  /** Connection string of the MongoDB that holds the older chat. */
  readonly from: string;
  readonly database: string;
  readonly collection: string;
  /** IANA name. */
  readonly timeZone: string;
  /** CSV file with lines `name,address`. */
  readonly map?: string;
  /** `split` makes several messages of a text that is too long. */
  readonly longText: 'refuse' | 'split';
  readonly dryRun?: true;
  /** File for the refusals, one JSON object a line. */
  readonly report?: string;
}

/** Runs an import and writes the report. @throws Error when the source, the store or a file cannot be used */
export async function runImport(to: StoreConfig, args: ImportArguments): Promise<Imported> {
  const addresses = args.map ? readAddresses(readFileSync(args.map, 'utf8')) : new Map<string, string>();
  const report = args.report ? openSync(args.report, 'w') : null;
  const source = await openSource(args.from, args.database, args.collection);
  try {
    const store = args.dryRun ? null : await openStore(to);
    try {
      return await withProgress('messages', (progress) =>
        importChat(source, store, {
          ...{ timeZone: args.timeZone, addresses, splitLong: args.longText === 'split', progress },
          refused: (refusal) => report !== null && appendFileSync(report, `${JSON.stringify(refusal)}\n`),
        }),
      );
    } finally {
      await store?.close();
    }
  } finally {
    await source.close();
    if (report !== null) closeSync(report);
  }
}

/** Addresses by name, in lower case, of lines `name,address`; a name may hold commas, or stand in quotes. */
export function readAddresses(csv: string): Map<string, string> {
  const lines = csv.replace(/^\ufeff/, '').split(/\r?\n/);
  return new Map(
    lines
      .filter((line) => line.includes(','))
      .map((line) => {
        const [, quoted, plain, address = ''] = /^\s*(?:"((?:[^"]|"")*)"|(.*))\s*,\s*"?([^",]*)"?\s*$/.exec(line) ?? [];
        const name = quoted?.replaceAll('""', '"') ?? plain ?? '';
        return [name.trim().toLowerCase(), address.trim()];
      }),
  );
}
