/** JSON, or a promise of it where something is waited for. */
export type Text = string | Promise<string>;

export function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/** Text that is put together of parts, which are waited for together. */
export class Parts {
  readonly #parts: Text[] = [];
  #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  add(text: Text): void {
    if (typeof text === 'string') {
      this.#text += text;
    } else {
      this.#parts.push(this.#text, text);
      this.#text = '';
    }
  }

  /** The whole text. */
  join(): Text {
    const parts = this.#parts;
    const end = this.#text;
    if (parts.length === 0) return end;
    const [before, part] = parts as [string, Promise<string>];
    if (parts.length === 2) return part.then((text) => before + text + end);
    return Promise.all(parts).then((texts) => texts.join('') + end);
  }

  /** Throws once the parts that are under way have ended or one has failed: none of them is left unhandled. */
  fail(error: unknown): Text {
    if (this.#parts.length === 0) throw error;
    return Promise.all(this.#parts).finally(() => {
      throw error;
    }) as Promise<never>;
  }
}
