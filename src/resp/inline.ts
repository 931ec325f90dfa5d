/**
 * Inline requests: a line of words, quoted as redis-cli quotes them ("…" with \n \r \t \b \a \xHH and \c
 * escapes, '…' with \' only). A closing quote must be followed by a blank or the end, as in Redis's
 * sdssplitargs.
 */
import type { Request } from "./request.ts";

const BLANKS = new Set([0x20, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x00]);
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const BACKSLASH = 0x5c;
const ESCAPES: ReadonlyMap<number, number> = new Map([
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
  [0x62, 0x08],
  [0x61, 0x07],
]);

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Splits `line` (without LF) into the arguments of `request`; false when its quotes do not balance. */
export function splitInline(line: Uint8Array, request: Request): boolean {
  const out = Buffer.allocUnsafeSlow(line.length);
  let length = 0;
  let i = 0;
  request.count = 0;
  for (;;) {
    while (i < line.length && BLANKS.has(line[i]!)) i++;
    if (i === line.length) break;
    request.reserve(request.count + 1);
    request.starts[request.count] = length;
    let quote = 0;
    for (; i < line.length; i++) {
      const byte = line[i]!;
      if (quote === 0) {
        if (BLANKS.has(byte)) break;
        if (byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE) quote = byte;
        else out[length++] = byte;
      } else if (byte === quote) {
        quote = 0;
        if (i + 1 < line.length && !BLANKS.has(line[i + 1]!)) return false;
      } else if (byte === BACKSLASH && quote === DOUBLE_QUOTE && i + 1 < line.length) {
        const high = line[i + 1] === 0x78 ? hexDigit(line[i + 2]) : -1;
        const low = high < 0 ? -1 : hexDigit(line[i + 3]);
        if (low >= 0) {
          out[length++] = (high << 4) | low;
          i += 3;
        } else {
          i++;
          out[length++] = ESCAPES.get(line[i]!) ?? line[i]!;
        }
      } else if (byte === BACKSLASH && quote === SINGLE_QUOTE && line[i + 1] === SINGLE_QUOTE) {
        out[length++] = SINGLE_QUOTE;
        i++;
      } else {
        out[length++] = byte;
      }
    }
    if (quote !== 0) return false;
    request.ends[request.count] = length;
    request.count++;
  }
  request.bytes = out;
  return true;
}
