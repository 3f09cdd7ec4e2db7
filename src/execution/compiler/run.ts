import { type FieldNode, type GraphQLError, locatedError } from 'graphql';
import { badInput, type ChatError } from '../../chat/rules/errors.ts';

/** Characters of JSON that are written before others have a turn. */
const PIECE_CHARACTERS = 65_536;

/** The place of a value in a result, from the inside out; undefined for the result itself. */
export interface Path {
  readonly outer: Path | undefined;
  readonly key: string | number;
}

export interface RunOptions {
  /** What the root fields are resolved on: of a subscription, the event. */
  readonly root?: unknown;
  readonly context: unknown;
  /** The coerced values of the variables. */
  readonly variables: Readonly<Record<string, unknown>>;
  /** Bytes that the result may have. */
  readonly max: number;
  /** Asked before each piece of long work: null where it may begin at once; else resolves when it may. */
  readonly slice: () => Promise<void> | null;
  /** Whether `slice` is asked before every field that a resolver works for, too. */
  readonly sliceFields?: boolean;
}

/** What came of a run. */
export interface Written {
  /** The JSON of the data. */
  readonly data: string;
  readonly errors: readonly GraphQLError[];
}

/** One run of an operation: what it runs with, the errors so far, and how much is written. */
export class Run {
  readonly options: RunOptions;
  readonly #errors: GraphQLError[] = [];
  /** Places that are null for an error; what goes wrong inside them later is not told. */
  readonly #nulled = new Set<Path | undefined>();
  #written = 0;
  #writtenBefore = 0;

  constructor(options: RunOptions) {
    this.options = options;
  }

  /** Counts JSON that is written. @throws ChatError where it is more than the result may have */
  count(characters: number): void {
    this.#written += characters;
    if (this.#isTooLarge()) throw tooLarge(this.options.max);
  }

  /** As `slice`, where a piece has been written since the last turn. */
  pause(): Promise<void> | null {
    if (this.#written - this.#writtenBefore < PIECE_CHARACTERS) return null;
    this.#writtenBefore = this.#written;
    return this.options.slice();
  }

  /**
   * Tells of an error and gives the JSON that stands for the value.
   * @throws GraphQLError where the value may not be null, so that what holds it is null instead
   */
  fail(error: unknown, nodes: readonly FieldNode[], path: Path, nullable: boolean): 'null' {
    if (this.#isTooLarge()) throw error;
    const located = locatedError(error, nodes, keysOf(path));
    if (!nullable) throw located;
    this.#tell(located, path);
    return 'null';
  }

  readonly end = (data: string): Written => ({ data, errors: this.#errors });

  /** The result where nothing in it could be null instead. @throws ChatError where it became too large */
  readonly endWith = (error: unknown): Written => {
    if (this.#isTooLarge()) throw error;
    this.#tell(error as GraphQLError, undefined);
    return this.end('null');
  };

  #tell(error: GraphQLError, path: Path | undefined): void {
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
