/**
 * Something made once for each event, for all who ask for it soon. It is not kept longer: results may be many and
 * large.
 */
export class Memo<Value> {
  readonly #make: (event: object) => Value | Promise<Value>;
  readonly #later: (forget: () => void) => unknown;
  readonly #made = new Map<object, Value | Promise<Value>>();

  /** @param later calls back when what was made until then is to be forgotten */
  constructor(make: (event: object) => Value | Promise<Value>, later: (forget: () => void) => unknown) {
    this.#make = make;
    this.#later = later;
  }

  get(event: object): Value | Promise<Value> {
    if (this.#made.size === 0) this.#later(() => this.#made.clear());
    return getOrMake(this.#made, event, () => this.#make(event));
  }

  /** Forgets what was made for an event when this turn of the event loop is over. */
  forget(event: object): void {
    setImmediate(() => this.#made.delete(event));
  }
}

/** What is kept for each key as long as it is used. */
export class Kept<Value> {
  readonly #entries = new Map<string, { readonly value: Value; users: number }>();

  /** The value of the key, made unless it is kept, and what gives it back. */
  use(key: string, make: () => Value): { readonly value: Value; leave(): void } {
    const entry = getOrMake(this.#entries, key, () => ({ value: make(), users: 0 }));
    entry.users++;
    const leave = () => {
      if (--entry.users === 0) this.#entries.delete(key);
    };
    return { value: entry.value, leave };
  }
}

/** The value of a key, made unless the map has it. */
export function getOrMake<Key, Value>(
  map: { get(key: Key): Value | undefined; set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
