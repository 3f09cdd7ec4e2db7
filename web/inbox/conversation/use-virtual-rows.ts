import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react';
import type { ConversationState, ConversationView } from '../../client/index.ts';

/** The messages that are in the page, by `seq`; `reachesEnd` when nothing comes after them. */
interface Shown {
  readonly from: number;
  readonly to: number;
  readonly reachesEnd: boolean;
}

/** What was chosen to be in the page; without an end it follows the newest message. */
interface Range {
  readonly from: number;
  readonly to: number;
}

/** At least so many rows are kept, and three screens full of the lowest there are (in pixels). */
const MIN_ROWS = 80;
const MIN_ROW_HEIGHT = 34;

/** Rows that are added at a time. */
const STEP = 30;

/** This near to an end (in pixels) more is shown, or loaded. */
const MARGIN = 500;

/** This near to the end (in pixels) counts as being there. */
const AT_END = 24;

const FOLLOW = Number.POSITIVE_INFINITY;

/**
 * Keeps some rows around what is looked at in the page, whatever the length of the log, and what is looked at where it is
 * while rows come and go around it. Rows may be of any height: no height is ever guessed.
 */
export function useVirtualRows(view: ConversationView, state: ConversationState, me: string, at: number | null) {
  const { messages, hasOlder, hasNewer, firstUnread, phase } = state;
  const scroller = useRef<HTMLElement>(null);
  const [range, setRange] = useState<Range | null>(null);
  const [atEnd, setAtEnd] = useState(true);
  /** The row at the top of the screen and where it is; and how far it was scrolled then. */
  const anchor = useRef<{ readonly seq: string; readonly top: number; readonly scrolled: number } | null>(null);
  /** The end is being looked at, and shall be when more comes. */
  const sticksToEnd = useRef(firstUnread === null && at === null);
  /** The message that is to be on the screen as soon as it is in the page. */
  const target = useRef(at);
  const placed = useRef(false);

  const newest = messages.at(-1)?.seq ?? 0;
  // What a row looks like depends on the one before. So the oldest waits for that: a row never changes when more is loaded.
  const oldest = Math.min((messages[0]?.seq ?? 1) + (hasOlder ? 1 : 0), newest);
  const shown = clipToLoaded(range ?? rangeAround(at ?? firstUnread, newest, hasNewer), oldest, newest, hasNewer);

  /** Remembers what is looked at. */
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

  /** Puts it back where it was. */
  const restoreAnchor = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    // Scrolled, and the event is still to come: that is kept too.
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

  /** Shows or loads more where an end is near, and says what was read. */
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
      // It has grown at its end: what is far from the eyes goes.
      if (sticksToEnd.current) setRange({ from: newest - maxRows + 1, to: FOLLOW });
      else if (isFar(element, shown.from + maxRows - 1, margin))
        setRange({ from: shown.from, to: shown.from + maxRows - 1 });
    }
    if (above < margin && shown.from === oldest && hasOlder) void view.loadOlder();
    if (below < margin && shown.to === newest && hasNewer) void view.loadNewer();
    if (isLookedAt()) markRead(element);
  }

  /** Marks as read what has been on the screen to its end. */
  function markRead(element: HTMLElement): void {
    const readSeq = state.conversation?.members.find(({ email }) => email === me)?.readSeq ?? 0;
    const { bottom: edge } = element.getBoundingClientRect();
    const rows = [...element.querySelectorAll<HTMLElement>('[data-seq]')];
    const last = rows.findLast((row) => row.getBoundingClientRect().bottom <= edge + AT_END);
    const seq = Number(last?.dataset.seq ?? 0);
    if (seq > readSeq) view.markRead(seq);
  }

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const row = target.current === null ? null : element.querySelector(`[data-seq="${target.current}"]`);
    const start = row ?? (placed.current ? null : element.querySelector('.fresh'));
    if (row) target.current = null;
    if (start && !sticksToEnd.current) {
      // A quarter down the screen: a little of what was read before can be seen.
      const top = start.getBoundingClientRect().top - element.getBoundingClientRect().top;
      element.scrollTop += top - element.clientHeight / 4;
    } else restoreAnchor();
    placed.current = true;
    // From now on it stays where it is, whatever comes at the end.
    if (range === null || (range.from === FOLLOW && !hasNewer)) {
      setRange({ from: shown.from, to: shown.reachesEnd ? FOLLOW : shown.to });
    }
    saveAnchor();
    update();
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: the element is another when the phase is
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(restoreAnchor);
    observer.observe(element);
    for (const child of element.children) observer.observe(child);
    return () => observer.disconnect();
  }, [restoreAnchor, phase]);

  const latestUpdate = useRef(update);
  latestUpdate.current = update;
  useEffect(() => {
    const onLookedAt = () => latestUpdate.current();
    document.addEventListener('visibilitychange', onLookedAt);
    addEventListener('focus', onLookedAt);
    return () => {
      document.removeEventListener('visibilitychange', onLookedAt);
      removeEventListener('focus', onLookedAt);
    };
  }, []);

  return {
    scroller,
    shown,
    /** Whether the end of the log is on the screen. */
    atEnd,
    onScroll() {
      saveAnchor();
      update();
    },
    /** Goes to the newest message, wherever that is. */
    toEnd(): void {
      sticksToEnd.current = true;
      target.current = null;
      setRange({ from: FOLLOW, to: FOLLOW });
      if (hasNewer) void view.jumpToEnd();
      restoreAnchor();
    },
    /** Goes to a message that is loaded. */
    toSeq(seq: number): void {
      sticksToEnd.current = false;
      target.current = seq;
      const { messages: loaded, hasNewer: goesOn } = view.get();
      setRange(rangeAround(seq, loaded.at(-1)?.seq ?? 0, goesOn));
    },
  };
}

/** Whether the window has the focus: a visible one may be in the background, and `readBy` is evidence. */
const isLookedAt = () => document.visibilityState === 'visible' && document.hasFocus();

/** Whether a row is more than `margin` pixels below the screen. */
function isFar(element: HTMLElement, seq: number, margin: number): boolean {
  const row = element.querySelector(`[data-seq="${seq}"]`);
  return row !== null && row.getBoundingClientRect().top > element.getBoundingClientRect().bottom + margin;
}

/** Around a message, or the end. */
function rangeAround(seq: number | null, newest: number, hasNewer: boolean): Range {
  if (seq === null) return { from: newest - MIN_ROWS + STEP, to: FOLLOW };
  const to = seq + STEP;
  return { from: seq - STEP, to: to >= newest && !hasNewer ? FOLLOW : to };
}

/** What there is of what was chosen. A choice outside of what is loaded means its end. */
function clipToLoaded({ from, to }: Range, oldest: number, newest: number, hasNewer: boolean): Shown {
  const outside = from > newest || to < oldest;
  const first = Math.max(oldest, outside ? newest - MIN_ROWS + STEP : from);
  const last = outside ? newest : Math.min(newest, to);
  return { from: first, to: last, reachesEnd: last === newest && !hasNewer };
}
