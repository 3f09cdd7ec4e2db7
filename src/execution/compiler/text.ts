/** JSON, or a promise of it. */
export type Text = string | Promise<string>;

/** Concatenates parts; a promise if one of them is. */
export class Parts {
  readonly #parts: Text[] = [];
  #text = '';

  add(text: Text): void {
    if (typeof text === 'string') {
      this.#text += text;
    } else {
      this.#parts.push(this.#text, text);
      this.#text = '';
    }
  }

  join(): Text {
    const [before, part, ...others] = this.#parts;
    const end = this.#text;
    if (part === undefined) return end;
    if (others.length === 0) return (part as Promise<string>).then((text) => before + text + end);
    return Promise.all(this.#parts).then((texts) => texts.join('') + end);
  }
}
