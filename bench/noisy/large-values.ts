/**
 * Large values that need no room of their own: windows into one pool of seeded random bytes, a different one for each
 * version, so that whoever knows the version can check every byte.
 */
import { Random } from "../load/random.ts";

const WINDOWS = 65_536;
const WINDOW_STEP = 977;
const SEED = 29;

export class LargeValues {
  readonly #pool: Buffer;
  readonly #bytes: number;

  constructor(bytes: number) {
    const words = new Uint32Array(Math.ceil((bytes + WINDOWS) / 4));
    const random = new Random(SEED);
    for (let i = 0; i < words.length; i++) words[i] = random.next();
    this.#pool = Buffer.from(words.buffer);
    this.#bytes = bytes;
  }

  /** Owned by the pool. */
  of(version: number): Buffer {
    const start = (version * WINDOW_STEP) % WINDOWS;
    return this.#pool.subarray(start, start + this.#bytes);
  }
}

export function largeKey(client: number): string {
  return `large:${client}`;
}
