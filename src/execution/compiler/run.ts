import { type FieldNode, type GraphQLError, locatedError } from 'graphql';
import { badInput, type ChatError } from '../../chat/rules/errors.ts';

/** Characters of JSON written, or encoded, in one slice. */
export const PIECE_CHARACTERS = 65_536;

/** The path of a value in a result, from the inside out; undefined for the result itself. */
export interface Path {
  readonly outer: Path | undefined;
  readonly key: string | number;
}

export interface RunOptions {
  /** The root value; for a subscription, the event. */
  readonly root?: unknown;
  readonly context: unknown;
  /** The coerced variables. */
  readonly variables: Readonly<Record<string, unknown>>;
  /** Largest result, in bytes. */
  readonly max: number;
  /** See `FairScheduler`. */
  readonly slice: () => Promise<void> | null;
  /** Whether `slice` is called before every field with a slow resolver, too. */
  readonly sliceFields?: boolean;
}

/** The result of a run. */
export interface Written {
  /** The JSON of the data. */
  readonly data: string;
  readonly errors: readonly GraphQLError[];
}

/** The state of one run of an operation: its options, the errors so far, and the characters written. */
export class Run {
  readonly options: RunOptions;
  readonly #errors: GraphQLError[] = [];
  /** Paths set to null by an error; later errors inside them are not reported. */
  readonly #nulled = new Set<Path | undefined>();
  #written = 0;
  #writtenBefore = 0;

  constructor(options: RunOptions) {
    this.options = options;
  }

  /** Counts written JSON. @throws ChatError if the result exceeds its limit */
  count(characters: number): void {
    this.#written += characters;
    if (this.#isTooLarge()) throw tooLarge(this.options.max);
  }

  /** Calls `slice` if a piece has been written since the last turn. */
  pause(): Promise<void> | null {
    if (this.#written - this.#writtenBefore < PIECE_CHARACTERS) return null;
    this.#writtenBefore = this.#written;
    return this.options.slice();
  }

  /**
   * Records an error and returns the JSON in place of the value.
   * @throws GraphQLError if the value must not be null: its parent becomes null instead
   */
  fail(error: unknown, nodes: readonly FieldNode[], path: Path, nullable: boolean): 'null' {
    if (this.#isTooLarge()) throw error;
    const located = locatedError(error, nodes, keysOf(path));
    if (!nullable) throw located;
    this.#record(located, path);
    return 'null';
  }

  readonly end = (data: string): Written => ({ data, errors: this.#errors });

  /** The result if the error reaches the root. @throws ChatError if the result became too large */
  readonly endWith = (error: unknown): Written => {
    if (this.#isTooLarge()) throw error;
    this.#record(error as GraphQLError, undefined);
    return this.end('null');
  };

  #record(error: GraphQLError, path: Path | undefined): void {
    for (let at = path; at; at = at.outer) if (this.#nulled.has(at)) return;
    if (!this.#nulled.has(undefined)) this.#errors.push(error);
    this.#nulled.add(path);
  }

  #isTooLarge(): boolean {
    return this.#written > this.options.max;
  }
}

export function tooLarge(max: number): ChatError {
  return badInput(`The answer would be larger than ${max} bytes; ask for less at once.`);
}

function keysOf(path: Path | undefined): (string | number)[] {
  return path ? [...keysOf(path.outer), path.key] : [];
}
