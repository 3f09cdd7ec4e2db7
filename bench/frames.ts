/** Reads frames where they were received: parsing each would cost the load more than it costs a server to send it. */

const ZERO = 48;
const QUOTE = 34;

/** Length of `{"id":"`, and of the ids that are given here. */
const ID_AT = 7;
export const ID_DIGITS = 8;
/** Where the type of a frame has its first character. */
const TYPE_AT = ID_AT + ID_DIGITS + '","type":"'.length;

/** Looks into the frame in `bytes` from `start` to `end`. */
type Read = (bytes: Buffer, start: number, end: number) => number;

/** The number of the first message in a frame; -1 where there is none. */
export const seqOf: Read = createReader('"seq":');
/** `lastSeq` of the first conversation in a frame; -1 where there is none. */
export const lastSeqOf: Read = createReader('"lastSeq":');
/** The number that the text of the first message in a frame begins with; -1 where there is none. */
export const textNumberOf: Read = createReader('"text":"');

/** The id in a frame; NaN in one that begins otherwise. */
export function idOf(bytes: Buffer, start: number): number {
  return bytes[start + ID_AT - 1] === QUOTE && bytes[start + 2] === 105 /* i */
    ? digits(bytes, start + ID_AT)
    : Number.NaN;
}

/** The first character of the type of a frame with an id. */
export function typeOf(bytes: Buffer, start: number): string {
  return String.fromCharCode(bytes[start + TYPE_AT] ?? 0);
}

/** Whether a result has errors. */
export function hasErrors(bytes: Buffer, start: number, end: number): boolean {
  return bytes.subarray(start, end).includes('"errors":[');
}

/** The beginning of a frame, to be shown. */
export function excerpt(bytes: Buffer, start: number, end: number): string {
  return bytes.toString('latin1', start, Math.min(end, start + 300));
}

/** Reads the number after the first of some marks. */
function createReader(text: string): Read {
  const mark = Buffer.from(text);
  /** Where the last frame had it: the next is likely to have it there, too. */
  let offset = 0;
  return (bytes, start, end) => {
    if (start + offset + mark.length > end || !holds(bytes, start + offset, mark)) {
      const at = bytes.subarray(start, end).indexOf(mark);
      if (at === -1) return -1;
      offset = at;
    }
    return digits(bytes, start + offset + mark.length);
  };
}

function holds(bytes: Buffer, at: number, mark: Buffer): boolean {
  for (let n = 0; n < mark.length; n++) if (bytes[at + n] !== mark[n]) return false;
  return true;
}

function digits(bytes: Buffer, from: number): number {
  let number = 0;
  for (let at = from; ; at++) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return number;
    number = number * 10 + digit;
  }
}
