/**
 * What is known of each key: the version that a reader must find at least, and the one that was tried last.
 *
 *     write    tried = v ─► sent ─► answered: known = v
 *     read     known when it is sent ≤ version found ≤ tried when it is answered; what was found is known from then on
 *
 * One writer at a time has a key, so versions are in the order of the writes. Shared by all clients: one may read what another
 * has written.
 */

import { versionOf } from "./move-protocol.ts";

export class KeyVersions {
  readonly #known: Int32Array;
  readonly #tried: Int32Array;
  readonly #isBusy: Uint8Array;

  constructor(keys: number) {
    this.#known = new Int32Array(keys);
    this.#tried = new Int32Array(keys);
    this.#isBusy = new Uint8Array(keys);
  }

  get count(): number {
    return this.#known.length;
  }

  known(index: number): number {
    return this.#known[index]!;
  }

  /** The version to write; undefined: a write of the key is under way. */
  begin(index: number): number | undefined {
    if (this.#isBusy[index] === 1) return undefined;
    this.#isBusy[index] = 1;
    return ++this.#tried[index]!;
  }

  /** A write has been answered, or has failed: then nobody knows. */
  end(index: number, version: number, isAcknowledged: boolean): void {
    this.#isBusy[index] = 0;
    if (isAcknowledged) this.#note(index, version);
  }

  /** What is wrong with a value that was read, if something is; `atLeast` was known when the read began. */
  complaint(index: number, value: string | null, atLeast: number): string | undefined {
    const version = versionOf(index, value);
    const tried = this.#tried[index]!;
    if (version >= atLeast && version <= tried) {
      this.#note(index, version);
      return undefined;
    }
    const found = value === null ? "nothing" : value.slice(0, 40);
    return `key:${index} has ${found}; known ${atLeast}, tried ${tried}`;
  }

  #note(index: number, version: number): void {
    this.#known[index] = Math.max(this.#known[index]!, version);
  }
}
