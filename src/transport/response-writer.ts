import { badInput, type ChatError } from '../chat/errors.ts';

/** A larger answer or event is made and sent in one of its user's slots. */
export const LARGE_BYTES = 262_144;
/** A result that counted fewer bytes than this while it was made is written in one piece. */
const ONE_PIECE_BYTES = 65_536;
/** Characters of JSON that are gathered before they are encoded. */
const CHUNK_CHARACTERS = 65_536;
/**
 * Levels of a result that are taken apart, so that no piece is long: to a message in a page of a conversation in a
 * list.
 */
const LEVELS = 8;

/** Counts the bytes of one answer while it is made. */
export interface ResponseBudget {
  /** Counts more bytes. @throws ChatError BAD_USER_INPUT once they are more than `max` */
  spend(bytes: number): void;
  /** @throws ChatError BAD_USER_INPUT where more than `max` were counted */
  check(): void;
  /** Bytes counted so far. */
  readonly spent: number;
  /** Bytes of JSON that the answer may have. */
  readonly max: number;
}

export function createResponseBudget(max: number): ResponseBudget {
  let spent = 0;
  const check = () => {
    if (spent > max) throw tooLarge(max);
  };
  return {
    max,
    get spent() {
      return spent;
    },
    spend(bytes) {
      spent += bytes;
      check();
    },
    check,
  };
}

function tooLarge(max: number): ChatError {
  return badInput(`The answer would be larger than ${max} bytes; ask for less at once.`);
}

/**
 * Writes a result, or a part of one, as JSON in UTF-8. A long one is written in slices, and no further than its bound.
 * @param slice as in `FairScheduler`, for the user who asked
 * @throws ChatError BAD_USER_INPUT where it is larger than the budget allows
 */
export function writeJson(
  result: unknown,
  budget: ResponseBudget,
  slice: () => Promise<void> | null,
): Buffer<ArrayBuffer> | Promise<Buffer<ArrayBuffer>> {
  if (budget.spent > ONE_PIECE_BYTES) return writeInSlices(result, budget.max, slice);
  const json = Buffer.from(JSON.stringify(result));
  if (json.length > budget.max) throw tooLarge(budget.max);
  return json;
}

async function writeInSlices(
  result: unknown,
  max: number,
  slice: () => Promise<void> | null,
): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let text = '';
  const encode = () => {
    const chunk = Buffer.from(text);
    text = '';
    bytes += chunk.length;
    if (bytes > max) throw tooLarge(max);
    chunks.push(chunk);
  };
  for (const piece of pieces(result, LEVELS)) {
    text += piece;
    if (text.length < CHUNK_CHARACTERS) continue;
    encode();
    const turn = slice();
    if (turn) await turn;
  }
  encode();
  return Buffer.concat(chunks);
}

/** What `JSON.stringify` gives, in pieces. */
function* pieces(value: unknown, levels: number): Generator<string, void> {
  if (typeof value !== 'object' || value === null || levels === 0 || 'toJSON' in value) {
    yield JSON.stringify(value);
  } else if (Array.isArray(value)) {
    let before = '[';
    for (const element of value) {
      yield before;
      yield* pieces(element, levels - 1);
      before = ',';
    }
    yield value.length === 0 ? '[]' : ']';
  } else {
    let before = '{';
    for (const [key, member] of Object.entries(value)) {
      if (member === undefined) continue;
      yield `${before}${JSON.stringify(key)}:`;
      yield* pieces(member, levels - 1);
      before = ',';
    }
    yield before === '{' ? '{}' : '}';
  }
}
