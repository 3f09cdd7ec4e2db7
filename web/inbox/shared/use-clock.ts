import { useSyncExternalStore } from 'react';
import { renewFormats } from './format.ts';

/** Interval of checks (ms): timers stop while the machine sleeps, and the time zone may change. */
const CHECK_MS = 60_000;

/** The day and time zone that dates are formatted for. */
const readDay = () => `${new Date().toDateString()} ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;

const listeners = new Set<() => void>();
let current = readDay();
let timer: ReturnType<typeof setTimeout> | undefined;

function check(): void {
  clearTimeout(timer);
  const midnight = new Date().setHours(24, 0, 0, 0);
  timer = setTimeout(check, Math.min(midnight - Date.now(), CHECK_MS));
  const now = readDay();
  if (now === current) return;
  current = now;
  renewFormats();
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  if (listeners.size === 1) {
    document.addEventListener('visibilitychange', check);
    addEventListener('focus', check);
    check();
  }
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    document.removeEventListener('visibilitychange', check);
    removeEventListener('focus', check);
    clearTimeout(timer);
  };
}

/** Renders a component that shows dates or times again when the day or the time zone changes. */
export const useClock = (): void => void useSyncExternalStore(subscribe, () => current);
