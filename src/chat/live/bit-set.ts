/** A set of natural numbers with one bit for each number up to the greatest. */
export class BitSet {
  #bits = new Uint8Array(0);

  has(number: number): boolean {
    return (((this.#bits[number >> 3] ?? 0) >> (number & 7)) & 1) === 1;
  }

  add(number: number): void {
    const index = number >> 3;
    if (index >= this.#bits.length) {
      const bits = new Uint8Array(Math.max(32, index * 2));
      bits.set(this.#bits);
      this.#bits = bits;
    }
    this.#bits[index] = (this.#bits[index] ?? 0) | (1 << (number & 7));
  }
}
