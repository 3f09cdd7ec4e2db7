import { useCallback, useEffect, useRef } from 'react';

/** Distance from the end, in pixels, that counts as being at the end. */
export const AT_END = 24;

/**
 * Keeps the viewport of a scroller in place while its rows change or resize: at the end if `sticksToEnd`, else at the
 * first visible row. Rows have a `data-seq`. `phase` is a value that changes with the scroller's element.
 */
export function useScrollAnchor(atEnd: boolean, phase: string) {
  const scroller = useRef<HTMLElement>(null);
  /** Whether the viewport is at the end and stays there when rows are added. */
  const sticksToEnd = useRef(atEnd);
  /** The row at the top of the viewport, its offset, and the scroll position at that time. */
  const anchor = useRef<{ readonly seq: string; readonly top: number; readonly scrolled: number } | null>(null);

  /** Saves the first visible row and its offset. */
  const saveAnchor = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    const { top: edge } = element.getBoundingClientRect();
    for (const row of element.querySelectorAll<HTMLElement>('[data-seq]')) {
      const { top, bottom } = row.getBoundingClientRect();
      if (bottom <= edge) continue;
      anchor.current = { seq: row.dataset.seq ?? '', top: top - edge, scrolled: element.scrollTop };
      break;
    }
  }, []);

  /** Scrolls the saved row back to its offset. */
  const restoreAnchor = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    // Keeps the distance scrolled since then: its scroll event is still pending.
    const scrolled = anchor.current ? element.scrollTop - anchor.current.scrolled : 0;
    if (scrolled < -1 && element.scrollHeight - element.scrollTop - element.clientHeight > AT_END)
      sticksToEnd.current = false;
    if (sticksToEnd.current) element.scrollTop = element.scrollHeight;
    else if (anchor.current) {
      const { seq, top } = anchor.current;
      const row = element.querySelector(`[data-seq="${seq}"]`);
      if (!row) return;
      const moved = row.getBoundingClientRect().top - element.getBoundingClientRect().top - top + scrolled;
      if (Math.abs(moved) >= 1) element.scrollTop += moved;
    }
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the element changes with the phase
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(restoreAnchor);
    observer.observe(element);
    for (const child of element.children) observer.observe(child);
    return () => observer.disconnect();
  }, [restoreAnchor, phase]);

  return { scroller, sticksToEnd, saveAnchor, restoreAnchor };
}
