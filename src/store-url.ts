/** The store: a SQLite file or `:memory:`, or the connection string of a MongoDB replica set. */
export type StoreConfig =
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'mongodb'; readonly url: string };

/**
 * The store that STORE_URL names.
 * @throws Error with the spelling that is meant, where programs interpret the given one differently
 */
export function parseStoreUrl(url: string): StoreConfig {
  if (url.startsWith('mongodb')) return { kind: 'mongodb', url };
  if (url === 'memory:') return { kind: 'sqlite', path: ':memory:' };
  const path = url.slice('sqlite:'.length);
  if (path === ':memory:') return { kind: 'sqlite', path };
  // Programs interpret sqlite:// and options differently: reject both rather than take them for a file name.
  const name = path.replace(/^(\/\/+|file:)+/, '').replace(/\?.*$/s, '');
  if (/^(:memory:?|memory:)$/.test(name)) throw new Error('STORE_URL must be memory: for a store in memory');
  if (/^[~$%'"\s]|\s$/.test(name))
    throw new Error('STORE_URL must be a whole path: ~, variables and quotes are not expanded');
  if (name !== path) {
    const file = name.replace(/^(\.?\/)+/, '') || 'FILE';
    const spellings = `sqlite:${file} from the working directory, or sqlite:/${file} from the root`;
    throw new Error(`STORE_URL must be ${spellings}: without //, file: and ?`);
  }
  return { kind: 'sqlite', path };
}
