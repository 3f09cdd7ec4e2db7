import { expect } from 'vitest';
import { ERROR_CODES } from '../../src/chat/rules/errors.ts';

const CODES = Object.keys(ERROR_CODES).filter((code) => code !== 'INTERNAL_SERVER_ERROR');
/** Texts of the server's internals. */
const INTERNAL = new RegExp(
  [
    /node_modules|dist\/|\.[jt]s:\d|\bat \w+ \(|originalError|stack|SQLITE|libsql|mongo|TypeError|RangeError/,
    /Cannot read|is not a function|Maximum call|Internal server error/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'i',
);

/** An error has only the fields of the contract, and no internals of the server. */
function expectError(error: unknown): void {
  const { message, locations: _, path: __, extensions, ...more } = error as Record<string, unknown>;
  expect(more).toEqual({});
  expect(message).toEqual(expect.any(String));
  // Input of the client may be quoted.
  expect(String(message).replace(/"[^"]*"/g, '')).not.toMatch(INTERNAL);
  const { code, retryAfterMs, ...others } = extensions as Record<string, unknown>;
  expect(CODES).toContain(code);
  expect(others).toEqual({});
  if (retryAfterMs !== undefined) expect(code).toBe('RATE_LIMITED');
}

/** The answer to an operation: data, errors, or both, and nothing else. */
export function expectAnswer(answer: unknown): void {
  const { data, errors, ...more } = answer as { data?: unknown; errors?: unknown[] };
  expect(more).toEqual({});
  expect(data !== undefined || errors !== undefined).toBe(true);
  if (errors) expectErrors(errors);
}

export function expectErrors(errors: unknown): void {
  expect(Array.isArray(errors) && errors.length > 0).toBe(true);
  for (const error of errors as unknown[]) expectError(error);
}

/** A message of the server by the graphql-transport-ws protocol. */
export function expectMessage(message: Record<string, unknown>): void {
  const { type, id, payload } = message;
  expect(['connection_ack', 'ping', 'pong', 'next', 'error', 'complete']).toContain(type);
  if (type === 'next' || type === 'error' || type === 'complete') expect(id).toEqual(expect.any(String));
  if (type === 'next') expectAnswer(payload);
  if (type === 'error') expectErrors(payload);
}

/** An answer of the legacy endpoint. */
export function expectFrame(frame: Record<string, unknown>): void {
  const { type, data, error, unread_message: unread, ...more } = frame;
  expect(more).toEqual({});
  expect(['CHAT_LIST', 'SEND', 'RECEIVE', 'ERROR']).toContain(type);
  expect(Array.isArray(data)).toBe(true);
  if (type === 'CHAT_LIST') expect(unread).toEqual(expect.any(Number));
  if (error === undefined) return expect(type).not.toBe('ERROR');
  expect(data).toEqual([]);
  const { code, message, ...others } = error as Record<string, unknown>;
  expect(others).toEqual({});
  expectError({ message, extensions: { code } });
}
