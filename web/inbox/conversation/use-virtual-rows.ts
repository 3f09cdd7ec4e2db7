import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import type { ConversationState, ConversationView } from '../../client/index.ts';
import { AT_END, useScrollAnchor } from '../shared/use-scroll-anchor.ts';

/*
 * Rows are not virtualized by the library `virtua` (0.54): it positions rows absolutely at estimated heights until they
 * are measured, keeps the position only while rows come or go at the start alone (`shift`; here both ends change, also
 * in one rendering), has no mode that follows the end, and on iOS corrects the position only after a touch ends.
 * Loading at both ends, the first unread message, following the end and marking as read would stay in this file.
 * Here rows are in normal flow, so no height is estimated, and text can be selected across rows.
 */

/** The rendered messages, by `seq`; `reachesEnd` if no message follows them. */
interface Shown {
  readonly from: number;
  readonly to: number;
  readonly reachesEnd: boolean;
}

/** The requested messages, by `seq`. With `to` at `FOLLOW` the range extends to the newest message. */
interface Range {
  readonly from: number;
  readonly to: number;
}

/** At least this many rows are rendered, and three screens of rows of the minimum height (in pixels). */
const MIN_ROWS = 80;
const MIN_ROW_HEIGHT = 34;

/** Number of rows added at a time. */
const STEP = 30;

/** Distance from an end, in pixels, within which more rows are rendered or loaded. */
const MARGIN = 500;

const FOLLOW = Number.POSITIVE_INFINITY;

/**
 * Renders the rows around the viewport, for a log of any length, and keeps the visible rows in place while rows are
 * added and removed around them. Rows may have any height: no height is estimated.
 */
export function useVirtualRows(view: ConversationView, state: ConversationState, me: string, at: number | null) {
  const { messages, hasOlder, hasNewer, firstUnread, phase } = state;
  const { scroller, sticksToEnd, saveAnchor, restoreAnchor } = useScrollAnchor(
    firstUnread === null && at === null,
    phase,
  );
  const [range, setRange] = useState<Range | null>(null);
  const [atEnd, setAtEnd] = useState(true);
  /** Position of the message to scroll to as soon as it is rendered; null for none. */
  const target = useRef(at);
  const placed = useRef(false);

  const newest = messages.at(-1)?.seq ?? 0;
  // The look of a row depends on the row before. The oldest row waits for that, so that loading never changes a row.
  const oldest = Math.min((messages[0]?.seq ?? 1) + (hasOlder ? 1 : 0), newest);
  const shown = clipToLoaded(range ?? rangeAround(at ?? firstUnread, newest, hasNewer), oldest, newest, hasNewer);

  /** Renders or loads more rows near an end, and marks visible messages as read. */
  function update(): void {
    const element = scroller.current;
    if (!element || phase !== 'ready') return;
    const above = element.scrollTop;
    const below = element.scrollHeight - above - element.clientHeight;
    const margin = Math.min(MARGIN, element.clientHeight / 2);
    const maxRows = Math.max(MIN_ROWS, Math.ceil((element.clientHeight / MIN_ROW_HEIGHT) * 3));
    sticksToEnd.current = shown.reachesEnd && below <= AT_END;
    setAtEnd(sticksToEnd.current);
    if (above < margin && shown.from > oldest) {
      const from = Math.max(oldest, shown.from - STEP);
      const to = Math.min(shown.to, from + maxRows - 1);
      setRange({ from, to: to === newest && !hasNewer ? FOLLOW : to });
    } else if (below < margin && shown.to < newest) {
      const to = Math.min(newest, shown.to + STEP);
      setRange({ from: Math.max(shown.from, to - maxRows + 1), to: to === newest && !hasNewer ? FOLLOW : to });
    } else if (shown.reachesEnd && shown.to - shown.from >= maxRows + STEP) {
      // The range has grown at its end: removes rows far from the viewport.
      if (sticksToEnd.current) setRange({ from: newest - maxRows + 1, to: FOLLOW });
      else if (isFar(element, shown.from + maxRows - 1, margin))
        setRange({ from: shown.from, to: shown.from + maxRows - 1 });
    }
    if (above < margin && shown.from === oldest && hasOlder) void view.loadOlder();
    if (below < margin && shown.to === newest && hasNewer) void view.loadNewer();
    const readSeq = state.conversation?.members.find(({ email }) => email === me)?.readSeq ?? 0;
    const lastSeq = isFocused() ? lastVisibleSeq(element) : 0;
    if (lastSeq > readSeq) view.markRead(lastSeq);
  }

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const row = target.current === null ? null : element.querySelector(`[data-seq="${target.current}"]`);
    const start = row ?? (placed.current ? null : element.querySelector('.fresh'));
    if (row) target.current = null;
    if (start && !sticksToEnd.current) {
      // A quarter down the viewport, so that some messages before it are visible.
      const top = start.getBoundingClientRect().top - element.getBoundingClientRect().top;
      element.scrollTop += top - element.clientHeight / 4;
    } else restoreAnchor();
    placed.current = true;
    // Fixes the range, so that messages that arrive at the end do not move it.
    if (range === null || (range.from === FOLLOW && !hasNewer)) {
      setRange({ from: shown.from, to: shown.reachesEnd ? FOLLOW : shown.to });
    }
    saveAnchor();
    update();
  });

  const latestUpdate = useRef(update);
  latestUpdate.current = update;
  useEffect(() => {
    const onFocus = () => latestUpdate.current();
    document.addEventListener('visibilitychange', onFocus);
    addEventListener('focus', onFocus);
    return () => {
      document.removeEventListener('visibilitychange', onFocus);
      removeEventListener('focus', onFocus);
    };
  }, []);

  return {
    scroller,
    shown,
    /** Whether the end of the log is visible. */
    atEnd,
    onScroll() {
      saveAnchor();
      update();
    },
    /** Scrolls to the newest message, and loads it if necessary. */
    toEnd(): void {
      sticksToEnd.current = true;
      target.current = null;
      setRange({ from: FOLLOW, to: FOLLOW });
      if (hasNewer) void view.jumpToEnd();
      restoreAnchor();
    },
    /** Scrolls to a loaded message. */
    toSeq(seq: number): void {
      sticksToEnd.current = false;
      target.current = seq;
      const { messages: loaded, hasNewer: goesOn } = view.get();
      setRange(rangeAround(seq, loaded.at(-1)?.seq ?? 0, goesOn));
    },
  };
}

/** Whether the window has the focus: a visible one may be in the background, and `readBy` is evidence. */
const isFocused = () => document.visibilityState === 'visible' && document.hasFocus();

/** Position of the last message that is visible to its end; 0 for none. */
function lastVisibleSeq(element: HTMLElement): number {
  const { bottom: edge } = element.getBoundingClientRect();
  const rows = [...element.querySelectorAll<HTMLElement>('[data-seq]')];
  return Number(rows.findLast((row) => row.getBoundingClientRect().bottom <= edge + AT_END)?.dataset.seq ?? 0);
}

/** Whether a row is more than `margin` pixels below the viewport. */
function isFar(element: HTMLElement, seq: number, margin: number): boolean {
  const row = element.querySelector(`[data-seq="${seq}"]`);
  return row !== null && row.getBoundingClientRect().top > element.getBoundingClientRect().bottom + margin;
}

/** The range around a message, or at the end. */
function rangeAround(seq: number | null, newest: number, hasNewer: boolean): Range {
  if (seq === null) return { from: newest - MIN_ROWS + STEP, to: FOLLOW };
  const to = seq + STEP;
  return { from: seq - STEP, to: to >= newest && !hasNewer ? FOLLOW : to };
}

/** The loaded part of a range; the end of the loaded messages for a range outside of them. */
function clipToLoaded({ from, to }: Range, oldest: number, newest: number, hasNewer: boolean): Shown {
  const outside = from > newest || to < oldest;
  const first = Math.max(oldest, outside ? newest - MIN_ROWS + STEP : from);
  const last = outside ? newest : Math.min(newest, to);
  return { from: first, to: last, reachesEnd: last === newest && !hasNewer };
}
