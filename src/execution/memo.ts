/**
 * A value computed once for each event, shared by all callers within a short time. It is not kept longer: values may be
 * many and large.
 */
export class Memo<Value> {
  readonly #make: (event: object) => Value | Promise<Value>;
  readonly #later: (forget: () => void) => unknown;
  readonly #made = new Map<object, Value | Promise<Value>>();

  /** @param later schedules the callback that drops all values computed until then */
  constructor(make: (event: object) => Value | Promise<Value>, later: (forget: () => void) => unknown) {
    this.#make = make;
    this.#later = later;
  }

  get(event: object): Value | Promise<Value> {
    if (this.#made.size === 0) this.#later(() => this.#made.clear());
    return getOrMake(this.#made, event, () => this.#make(event));
  }

  /** Drops the value of an event at the end of this turn of the event loop. */
  forget(event: object): void {
    setImmediate(() => this.#made.delete(event));
  }
}

/** Values by key, each dropped when its last user leaves. */
export class ReferenceCounted<Value> {
  readonly #entries = new Map<string, { readonly value: Value; users: number }>();

  /** The value of the key, made if absent; `leave` releases it. */
  use(key: string, make: () => Value): { readonly value: Value; leave(): void } {
    const entry = getOrMake(this.#entries, key, () => ({ value: make(), users: 0 }));
    entry.users++;
    const leave = () => {
      if (--entry.users === 0) this.#entries.delete(key);
    };
    return { value: entry.value, leave };
  }
}

/** The value of a key, made if absent. */
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
