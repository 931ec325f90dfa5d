/**
 * Reads the fields of a message that a peer sent: every read is checked against the end, and after the first that
 * does not fit all others give zeros. So a decoder reads straight on and asks `hasFailed` once, at its end.
 */

const TWO_53 = 2 ** 53;

export class FieldReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  #at: number;
  hasFailed = false;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = start;
    this.#end = end;
  }

  /** Whether all was read and all of it was there. */
  get isDone(): boolean {
    return !this.hasFailed && this.#at === this.#end;
  }

  fail(): void {
    this.hasFailed = true;
    this.#at = this.#end;
  }

  /** A safe integer ≥ 0 in as many bytes as it needs (one form per number). */
  varint(): number {
    let value = 0;
    for (let scale = 1; this.#at < this.#end; scale *= 0x80) {
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (value >= TWO_53 || (byte === 0 && scale > 1)) break;
      if (byte < 0x80) return value;
    }
    this.fail();
    return 0;
  }

  boolean(): boolean {
    const value = this.varint();
    if (value > 1) this.fail();
    return value === 1;
  }

  float64(): number {
    if (this.#end - this.#at < 8) {
      this.fail();
      return 0;
    }
    const value = this.#view.getFloat64(this.#at, true);
    this.#at += 8;
    if (Number.isNaN(value)) this.fail();
    return value;
  }
}
