import { useEffect, useState, useSyncExternalStore } from 'react';
import type { Readable } from '../../client/index.ts';

/** The present value; renders the component again whenever it changes. */
export function useReadable<T>({ get, subscribe }: Readable<T>): T {
  return useSyncExternalStore(subscribe, get);
}

/** A view of the client, open while the component is mounted; null in the first rendering. */
export function useView<View extends { close(): void }>(open: () => View): View | null {
  const [view, setView] = useState<View | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: once
  useEffect(() => {
    const opened = open();
    setView(opened);
    return () => opened.close();
  }, []);
  return view;
}
