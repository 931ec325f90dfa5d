/**
 * The slot that stock cluster clients compute for a key: CRC-16 (XMODEM) of the key, or of its {hash tag}, mod 16384.
 * dkv places keys by slot.ts; this one tells which commands of several keys such clients take for commands of one
 * slot (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#appendix-a-crc16-reference-implementation-in-ansi-c).
 *
 * Check value: CRC-16("123456789") = 0x31C3.
 */

export const CLIENT_SLOT_COUNT = 16_384;

const POLYNOMIAL = 0x1021;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const TABLE = buildTable();

function buildTable(): Uint16Array {
  const table = new Uint16Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
    table[byte] = crc;
  }
  return table;
}

function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >>> 8) ^ byte]!;
  return crc;
}

/** Client slot of a key. */
export function clientSlotOf(key: Uint8Array): number {
  const open = key.indexOf(OPEN_BRACE);
  const close = open < 0 ? -1 : key.indexOf(CLOSE_BRACE, open + 1);
  const hashed = close > open + 1 ? key.subarray(open + 1, close) : key;
  return crc16(hashed) & (CLIENT_SLOT_COUNT - 1);
}
