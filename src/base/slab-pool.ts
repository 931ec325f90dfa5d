/**
 * Equal pieces of memory for large values on their way, used again and again: a buffer that has become garbage keeps its
 * memory until the collector comes round to it, which for hundreds of megabytes a second is too late.
 *
 * A slab belongs to whoever has taken it until it is given back; then nothing may refer to it. One that is never given
 * back is collected like any other buffer.
 */

export const SLAB_BYTES = 256 * 1024;
/** Freeing costs some microseconds, and as many again when the next buffer is allocated: small ones are collected. */
const FREED_BYTES_MIN = 64 * 1024;

/** Gives the memory of a buffer back now, not when it is collected. REQUIRES: nobody uses it any more. */
export function freeBuffer(view: ArrayBufferView): void {
  const memory = view.buffer;
  const isOwn = memory instanceof ArrayBuffer && memory.byteLength === view.byteLength;
  if (isOwn && view.byteLength >= FREED_BYTES_MIN) memory.transfer(0);
}

export class SlabPool {
  readonly #free: Buffer[] = [];
  readonly #keptMax: number;

  /** Keeps at most `keptBytes` that are not in use. */
  constructor(keptBytes: number) {
    this.#keptMax = Math.ceil(keptBytes / SLAB_BYTES);
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  /** Takes back all of `slabs`, and empties the list. */
  giveAll(slabs: Buffer[]): void {
    for (const slab of slabs) if (this.#free.length < this.#keptMax) this.#free.push(slab);
    slabs.length = 0;
  }
}

/** Copies bytes one behind the other into slabs. */
export class SlabWriter {
  readonly #pool: SlabPool;
  /** Whoever owns the list gives them back. */
  readonly #slabs: Buffer[];
  /** What has been written: views of the slabs. The last one grows by being replaced. */
  readonly pieces: Buffer[] = [];
  #slab: Buffer | undefined = undefined;
  #filled = 0;

  constructor(pool: SlabPool, slabs: Buffer[]) {
    this.#pool = pool;
    this.#slabs = slabs;
  }

  write(source: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; ) {
      if (this.#slab === undefined || this.#filled === SLAB_BYTES) this.#next();
      const count = Math.min(end - at, SLAB_BYTES - this.#filled);
      this.#slab!.set(source.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      this.pieces[this.pieces.length - 1] = this.#slab!.subarray(0, this.#filled);
    }
  }

  #next(): void {
    this.#slab = this.#pool.take();
    this.#slabs.push(this.#slab);
    this.#filled = 0;
    this.pieces.push(this.#slab.subarray(0, 0));
  }
}
