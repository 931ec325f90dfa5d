/**
 * Where dkv keeps a key, as clients see it: CRC-32 of the key, or of its {hash tag}, mod 1024, times 16, since dkv shows
 * each of its 1,024 slots to clients as 16 of theirs.
 *
 * Check value: CRC-32("123456789") = 0xCBF43926, slot 294, client slot 4704.
 */

const SLOT_COUNT = 1024;
/** Slots of clients for each slot of dkv. */
export const CLIENT_SLOTS = 16;

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** The first client slot of the key's slot. `key`: a string, taken as UTF-8, or bytes. */
export function clientSlotOf(key) {
  const bytes = typeof key === "string" ? Buffer.from(key) : key;
  const open = bytes.indexOf(OPEN_BRACE);
  const close = open < 0 ? -1 : bytes.indexOf(CLOSE_BRACE, open + 1);
  const isTagged = close > open + 1;
  const end = isTagged ? close : bytes.length;
  let crc = -1;
  for (let i = isTagged ? open + 1 : 0; i < end; i++) {
    crc = TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  }
  return (~crc & (SLOT_COUNT - 1)) * CLIENT_SLOTS;
}
