/**
 * XXH64 (https://github.com/Cyan4973/xxHash), seed 0: the checksum of everything on disk and on the wire.
 *
 * Check values: XXH64("") = 0xEF46DB3751D8E999, XXH64("abc") = 0x44BC2CF5AD770999. About 0.3 µs for 4 KiB.
 * A bigint costs 10 to 20 times a number, so checksums are stored and compared as two 32-bit words and a
 * bigint lives only inside these functions.
 */

export const CHECKSUM_BYTES = 8;

const scratch = new DataView(new ArrayBuffer(CHECKSUM_BYTES));

export function xxh64(bytes: Uint8Array): bigint {
  return Bun.hash.xxHash64(bytes);
}

/** Writes XXH64(covered) to target[offset, offset + 8), little-endian. */
export function writeChecksum(covered: Uint8Array, target: Uint8Array, offset: number): void {
  scratch.setBigUint64(0, Bun.hash.xxHash64(covered), true);
  for (let i = 0; i < CHECKSUM_BYTES; i++) target[offset + i] = scratch.getUint8(i);
}

/** Whether stored[offset, offset + 8) holds XXH64(covered). */
export function checksumMatches(covered: Uint8Array, stored: Uint8Array, offset: number): boolean {
  scratch.setBigUint64(0, Bun.hash.xxHash64(covered), true);
  for (let i = 0; i < CHECKSUM_BYTES; i++) {
    if (stored[offset + i] !== scratch.getUint8(i)) return false;
  }
  return true;
}

/** A checksum over all bytes so far, in hexadecimal digits: `chain` is that of those before, "0" for none. */
export function chainChecksum(chain: string, bytes: Uint8Array): string {
  return Bun.hash.xxHash64(bytes, BigInt(`0x${chain}`)).toString(16);
}
