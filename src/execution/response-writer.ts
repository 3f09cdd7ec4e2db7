import type { ExecutionResult, GraphQLError } from 'graphql';
import { PIECE_CHARACTERS, tooLarge } from './compiler/run.ts';

/** A larger answer or event needs one of the user's slots, in bytes. */
export const LARGE_BYTES = 262_144;

/** JSON in UTF-8, in parts that are not to be changed. */
export type Json = readonly Buffer[];

/** The whole result of an operation, or the errors that prevented its execution. */
export interface Answer {
  readonly kind: 'answer';
  /** The whole answer in UTF-8, not to be changed. */
  readonly json: Buffer<ArrayBuffer>;
  /** The errors of the answer. */
  readonly errors: readonly GraphQLError[];
  /** True if the answer has `data`, null included. */
  readonly ran: boolean;
}

/** The answer for a result with masked errors. */
export function answerOf(result: ExecutionResult): Answer {
  const { data, errors = [] } = result;
  return { kind: 'answer', json: Buffer.from(JSON.stringify(result)), errors, ran: data !== undefined };
}

/** The JSON of a result. @param errors the masked errors */
export function jsonOf(data: string, errors: readonly GraphQLError[]): string {
  return errors.length === 0 ? `{"data":${data}}` : `{"errors":${JSON.stringify(errors)},"data":${data}}`;
}

/**
 * Encodes JSON in UTF-8, a long one in slices.
 * @param slice see `FairScheduler`; for the user of the request
 * @throws ChatError BAD_USER_INPUT if the JSON exceeds `max` bytes
 */
export function encode(
  json: string,
  max: number,
  slice: () => Promise<void> | null,
): Buffer<ArrayBuffer> | Promise<Buffer<ArrayBuffer>> {
  if (json.length > PIECE_CHARACTERS) return encodeInSlices(json, max, slice);
  const bytes = Buffer.from(json);
  if (bytes.length > max) throw tooLarge(max);
  return bytes;
}

async function encodeInSlices(
  json: string,
  max: number,
  slice: () => Promise<void> | null,
): Promise<Buffer<ArrayBuffer>> {
  const length = Buffer.byteLength(json);
  if (length > max) throw tooLarge(max);
  const bytes = Buffer.allocUnsafe(length);
  let written = 0;
  for (let start = 0, end = 0; start < json.length; start = end) {
    end = start + PIECE_CHARACTERS;
    // Do not split a surrogate pair.
    if (isHighSurrogate(json.charCodeAt(end - 1))) end++;
    written += bytes.write(json.slice(start, end), written);
    const turn = slice();
    if (turn) await turn;
  }
  return bytes;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
