import { useEffect, useState, useSyncExternalStore } from 'react';
import type { Readable } from '../client/index.ts';

/** The present value, and a new rendering whenever it changes. */
export function useReadable<T>({ get, subscribe }: Readable<T>): T {
  return useSyncExternalStore(subscribe, get);
}

/** A view of the client's that is open as long as the component is shown with the same `key`. */
export function useView<View extends { close(): void }>(open: () => View, key: string): View | null {
  const [view, setView] = useState<{ key: string; view: View } | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key says when to open another
  useEffect(() => {
    const opened = open();
    setView({ key, view: opened });
    return () => opened.close();
  }, [key]);
  return view?.key === key ? view.view : null;
}
