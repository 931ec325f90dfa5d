/**
 * LEB128 varints of safe integers: seven bits a byte, the lowest first, the high bit set on all but the last.
 * Values below 2^28 take the path of 32-bit operations. Nothing here allocates, so a decoder asks for the value
 * and for the length separately.
 */

/** Bytes of the largest safe integer (2^53 − 1). */
export const VARINT_BYTES_MAX = 8;

const TWO_28 = 0x1000_0000;

/** Bytes that `value` takes. REQUIRES: a safe integer ≥ 0. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** Writes `value` and returns the offset behind it. REQUIRES: a safe integer ≥ 0. */
export function writeVarint(bytes: Uint8Array, offset: number, value: number): number {
  let at = offset;
  let rest = value;
  while (rest >= TWO_28) {
    bytes[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest >= 0x80) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

/** The value at `offset`. REQUIRES: a varint that writeVarint wrote (its bytes are verified). */
export function readVarint(bytes: Uint8Array, offset: number): number {
  let at = offset;
  let byte = bytes[at++]!;
  let value = byte & 0x7f;
  for (let shift = 7; byte >= 0x80 && shift < 28; shift += 7) {
    byte = bytes[at++]!;
    value |= (byte & 0x7f) << shift;
  }
  for (let scale = TWO_28; byte >= 0x80; scale *= 0x80) {
    byte = bytes[at++]!;
    value += (byte & 0x7f) * scale;
  }
  return value;
}

/** The offset behind the varint at `offset`. */
export function varintEnd(bytes: Uint8Array, offset: number): number {
  let at = offset;
  while (bytes[at]! >= 0x80) at++;
  return at + 1;
}
