import type { OutboxStorage } from './connection/platform.ts';

/** A key-value storage that never throws. Entries that the platform's storage refuses live as long as the page. */
export interface SafeStorage {
  keys(): string[];
  get(key: string): string | null;
  set(key: string, value: string): void;
  remove(key: string): void;
  /** Calls back with each entry that another page changes; null for a removed one. Returns a function that stops it. */
  watch(listener: (key: string, value: string | null) => void): () => void;
}

interface StorageEventLike {
  readonly key: string | null;
  readonly newValue: string | null;
  readonly storageArea: unknown;
}

const platform = globalThis as {
  addEventListener?(type: 'storage', listener: (event: StorageEventLike) => void): void;
  removeEventListener?(type: 'storage', listener: (event: StorageEventLike) => void): void;
};

/** Wraps a storage that may be missing, forbidden or full. `open` may throw, as the getter of `localStorage` does. */
export function createSafeStorage(open: () => OutboxStorage | null | undefined): SafeStorage {
  const storage = tryOr(open, null);
  /** Entries that the storage refused. */
  const fallbackEntries = new Map<string, string>();
  return {
    keys() {
      const stored = tryOr(() => Array.from({ length: storage?.length ?? 0 }, (_, i) => storage?.key(i)), []);
      return [...new Set([...stored, ...fallbackEntries.keys()])].filter((key) => typeof key === 'string');
    },
    get: (key) => fallbackEntries.get(key) ?? tryOr(() => storage?.getItem(key), null) ?? null,
    set(key, value) {
      const stored = tryOr(() => {
        storage?.setItem(key, value);
        return Boolean(storage);
      }, false);
      if (stored) fallbackEntries.delete(key);
      else fallbackEntries.set(key, value);
    },
    remove(key) {
      fallbackEntries.delete(key);
      tryOr(() => storage?.removeItem(key), undefined);
    },
    watch(listener) {
      const onStorage = ({ key, newValue, storageArea }: StorageEventLike) => {
        if (key !== null && storageArea === storage) listener(key, newValue);
      };
      platform.addEventListener?.('storage', onStorage);
      return () => platform.removeEventListener?.('storage', onStorage);
    },
  };
}

function tryOr<T>(work: () => T, fallback: T): T {
  try {
    return work();
  } catch {
    return fallback;
  }
}
