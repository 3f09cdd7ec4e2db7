import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react';
import type { ConversationState, ConversationView } from '../../client/index.ts';

/** The messages that are in the page, by `seq`; `reachesEnd` when nothing comes after them. */
interface Shown {
  readonly from: number;
  readonly to: number;
  readonly reachesEnd: boolean;
}

/** What was chosen to be in the page; without an end it follows the newest message. */
interface Choice {
  readonly from: number;
  readonly to: number;
}

/** At least so many rows are kept, and three screens full of the lowest there are (in pixels). */
const LEAST_ROWS = 80;
const LOWEST_ROW = 34;

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
export function useWindow(view: ConversationView, state: ConversationState, me: string, at: number | null) {
  const { messages, hasOlder, hasNewer, firstUnread, phase } = state;
  const scroller = useRef<HTMLElement>(null);
  const [choice, setChoice] = useState<Choice | null>(null);
  const [atEnd, setAtEnd] = useState(true);
  /** The row at the top of the screen and where it is; and how far it was scrolled then. */
  const anchor = useRef<{ readonly seq: string; readonly top: number; readonly scrolled: number } | null>(null);
  /** The end is being looked at, and shall be when more comes. */
  const stick = useRef(firstUnread === null && at === null);
  /** The message that is to be on the screen as soon as it is in the page. */
  const wanted = useRef(at);
  const placed = useRef(false);

  const newest = messages.at(-1)?.seq ?? 0;
  // What a row looks like depends on the one before. So the oldest waits for that: a row never changes when more is loaded.
  const oldest = Math.min((messages[0]?.seq ?? 1) + (hasOlder ? 1 : 0), newest);
  const shown = clip(choice ?? around(at ?? firstUnread, newest, hasNewer), oldest, newest, hasNewer);

  /** Remembers what is looked at. */
  const note = useCallback(() => {
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
  const restore = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    // Scrolled, and the event is still to come: that is kept too.
    const scrolled = anchor.current ? element.scrollTop - anchor.current.scrolled : 0;
    if (scrolled < -1 && element.scrollHeight - element.scrollTop - element.clientHeight > AT_END)
      stick.current = false;
    if (stick.current) element.scrollTop = element.scrollHeight;
    else if (anchor.current) {
      const { seq, top } = anchor.current;
      const row = element.querySelector(`[data-seq="${seq}"]`);
      if (!row) return;
      const moved = row.getBoundingClientRect().top - element.getBoundingClientRect().top - top + scrolled;
      if (Math.abs(moved) >= 1) element.scrollTop += moved;
    }
  }, []);

  /** Shows or loads more where an end is near, and says what was read. */
  function look(): void {
    const element = scroller.current;
    if (!element || phase !== 'ready') return;
    const above = element.scrollTop;
    const below = element.scrollHeight - above - element.clientHeight;
    const margin = Math.min(MARGIN, element.clientHeight / 2);
    const most = Math.max(LEAST_ROWS, Math.ceil((element.clientHeight / LOWEST_ROW) * 3));
    stick.current = shown.reachesEnd && below <= AT_END;
    setAtEnd(stick.current);
    if (above < margin && shown.from > oldest) {
      const from = Math.max(oldest, shown.from - STEP);
      const to = Math.min(shown.to, from + most - 1);
      setChoice({ from, to: to === newest && !hasNewer ? FOLLOW : to });
    } else if (below < margin && shown.to < newest) {
      const to = Math.min(newest, shown.to + STEP);
      setChoice({ from: Math.max(shown.from, to - most + 1), to: to === newest && !hasNewer ? FOLLOW : to });
    } else if (shown.reachesEnd && shown.to - shown.from >= most + STEP) {
      // It has grown at its end: what is far from the eyes goes.
      if (stick.current) setChoice({ from: newest - most + 1, to: FOLLOW });
      else if (isFar(element, shown.from + most - 1, margin))
        setChoice({ from: shown.from, to: shown.from + most - 1 });
    }
    if (above < margin && shown.from === oldest && hasOlder) void view.loadOlder();
    if (below < margin && shown.to === newest && hasNewer) void view.loadNewer();
    if (isLookedAt()) read(element);
  }

  /** Marks as read what has been on the screen to its end. */
  function read(element: HTMLElement): void {
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
    const row = wanted.current === null ? null : element.querySelector(`[data-seq="${wanted.current}"]`);
    const start = row ?? (placed.current ? null : element.querySelector('.fresh'));
    if (row) wanted.current = null;
    if (start && !stick.current) {
      // A quarter down the screen: a little of what was read before can be seen.
      const top = start.getBoundingClientRect().top - element.getBoundingClientRect().top;
      element.scrollTop += top - element.clientHeight / 4;
    } else restore();
    placed.current = true;
    // From now on it stays where it is, whatever comes at the end.
    if (choice === null || (choice.from === FOLLOW && !hasNewer)) {
      setChoice({ from: shown.from, to: shown.reachesEnd ? FOLLOW : shown.to });
    }
    note();
    look();
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: the element is another when the phase is
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(restore);
    observer.observe(element);
    for (const child of element.children) observer.observe(child);
    return () => observer.disconnect();
  }, [restore, phase]);

  const looked = useRef(look);
  looked.current = look;
  useEffect(() => {
    const onLookedAt = () => looked.current();
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
      note();
      look();
    },
    /** Goes to the newest message, wherever that is. */
    toEnd(): void {
      stick.current = true;
      wanted.current = null;
      setChoice({ from: FOLLOW, to: FOLLOW });
      if (hasNewer) void view.jumpToEnd();
      restore();
    },
    /** Goes to a message that is loaded. */
    toSeq(seq: number): void {
      stick.current = false;
      wanted.current = seq;
      const { messages: loaded, hasNewer: goesOn } = view.get();
      setChoice(around(seq, loaded.at(-1)?.seq ?? 0, goesOn));
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
function around(seq: number | null, newest: number, hasNewer: boolean): Choice {
  if (seq === null) return { from: newest - LEAST_ROWS + STEP, to: FOLLOW };
  const to = seq + STEP;
  return { from: seq - STEP, to: to >= newest && !hasNewer ? FOLLOW : to };
}

/** What there is of what was chosen. A choice outside of what is loaded means its end. */
function clip({ from, to }: Choice, oldest: number, newest: number, hasNewer: boolean): Shown {
  const outside = from > newest || to < oldest;
  const first = Math.max(oldest, outside ? newest - LEAST_ROWS + STEP : from);
  const last = outside ? newest : Math.min(newest, to);
  return { from: first, to: last, reachesEnd: last === newest && !hasNewer };
}
