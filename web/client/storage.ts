import type { OutboxStorage } from './connection/platform.ts';

/** A key-value storage that never throws: entries that the platform's storage refuses live as long as the page. */
export interface SafeStorage {
  keys(): string[];
  get(key: string): string | null;
  set(key: string, value: string): void;
  remove(key: string): void;
  /** Reports each entry that another page changes; null means removed. Returns a function that stops it. */
  watch(listener: (key: string, value: string | null) => void): () => void;
}

interface StorageEventLike {
  readonly key: string | null;
  readonly newValue: string | null;
  readonly storageArea: unknown;
}

const here = globalThis as {
  addEventListener?(type: 'storage', listener: (event: StorageEventLike) => void): void;
  removeEventListener?(type: 'storage', listener: (event: StorageEventLike) => void): void;
};

/** Guards a storage that may be missing, forbidden or full. `open` may throw, as the getter of `localStorage` does. */
export function createSafeStorage(open: () => OutboxStorage | null | undefined): SafeStorage {
  const storage = attempt(open, null);
  /** Entries that the storage refused. */
  const refused = new Map<string, string>();
  return {
    keys() {
      const stored = attempt(() => Array.from({ length: storage?.length ?? 0 }, (_, i) => storage?.key(i)), []);
      return [...new Set([...stored, ...refused.keys()])].filter((key) => typeof key === 'string');
    },
    get: (key) => refused.get(key) ?? attempt(() => storage?.getItem(key), null) ?? null,
    set(key, value) {
      const stored = attempt(() => {
        storage?.setItem(key, value);
        return Boolean(storage);
      }, false);
      if (stored) refused.delete(key);
      else refused.set(key, value);
    },
    remove(key) {
      refused.delete(key);
      attempt(() => storage?.removeItem(key), undefined);
    },
    watch(listener) {
      const onStorage = ({ key, newValue, storageArea }: StorageEventLike) => {
        if (key !== null && storageArea === storage) listener(key, newValue);
      };
      here.addEventListener?.('storage', onStorage);
      return () => here.removeEventListener?.('storage', onStorage);
    },
  };
}

function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    return otherwise;
  }
}
