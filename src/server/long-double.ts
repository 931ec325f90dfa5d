/**
 * The x87 80-bit float, in which Redis computes INCRBYFLOAT: parsed as strtold() does, added with one rounding,
 * printed as "%.17Lf" without the zeros at its end.
 *
 *     value = mantissa × 2^exponent      |mantissa| < 2^64, −16445 ≤ exponent ≤ 16320
 *
 * Every step is exact in bigints and then rounded once, to the nearest, ties to even. A few microseconds a command.
 */

export interface LongDouble {
  readonly mantissa: bigint;
  /** ±Infinity: the value is infinite, the mantissa only its sign. */
  readonly exponent: number;
}

const MANTISSA_BITS = 64;
const EXPONENT_MIN = -16_445;
const EXPONENT_MAX = 16_320;
/** Powers of ten beyond these are infinite, or below half of the smallest number. */
const DECIMAL_ORDER_MAX = 4_940;
const DECIMAL_ORDER_MIN = -4_960;
/** The same in bits. */
const BINARY_ORDER_MAX = 16_400;
const BINARY_ORDER_MIN = -16_500;
const FRACTION_DIGITS = 17;

/** Redis takes no longer text for a float. */
export const LONG_DOUBLE_TEXT_BYTES_MAX = 5 * 1024 - 1;
export const ZERO_LONG_DOUBLE: LongDouble = { mantissa: 0n, exponent: 0 };

const DECIMAL = /^[+-]?(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:e([+-]?\d+))?$/i;
const HEXADECIMAL = /^[+-]?0x(?:([\da-f]+)(?:\.([\da-f]*))?|\.([\da-f]+))(?:p([+-]?\d+))?$/i;
const INFINITE = /^[+-]?inf(?:inity)?$/i;

/**
 * The number that all of `text` spells; undefined when it spells none, NaN, or one too large or too near to zero to
 * be held. REQUIRES: at most LONG_DOUBLE_TEXT_BYTES_MAX characters.
 */
export function parseLongDouble(text: string): LongDouble | undefined {
  const sign = text.startsWith("-") ? -1n : 1n;
  if (INFINITE.test(text)) return { mantissa: sign, exponent: Number.POSITIVE_INFINITY };
  const decimal = DECIMAL.exec(text);
  const match = decimal ?? HEXADECIMAL.exec(text);
  if (match === null) return undefined;
  const fraction = match[2] ?? match[3] ?? "";
  const figures = ((match[1] ?? "") + fraction).replace(/^0+/, "");
  if (figures === "") return ZERO_LONG_DOUBLE;
  const power = Number(match[4] ?? 0);
  const value =
    decimal === null
      ? fromHexadecimal(sign, figures, power - 4 * fraction.length)
      : fromDecimal(sign, figures, power - fraction.length);
  return value === undefined || value.mantissa === 0n || !isFiniteLongDouble(value)
    ? undefined
    : value;
}

/** sign × figures × 10^power; undefined when that is far too large or too small. */
function fromDecimal(sign: bigint, figures: string, power: number): LongDouble | undefined {
  const order = figures.length + power;
  if (order > DECIMAL_ORDER_MAX || order < DECIMAL_ORDER_MIN) return undefined;
  const mantissa = sign * BigInt(figures);
  if (power >= 0) return rounded(mantissa * 10n ** BigInt(power), 1n, 0);
  return rounded(mantissa, 10n ** BigInt(-power), 0);
}

/** sign × figures × 2^power; undefined when that is far too large or too small. */
function fromHexadecimal(sign: bigint, figures: string, power: number): LongDouble | undefined {
  const order = 4 * figures.length + power;
  if (order > BINARY_ORDER_MAX || order < BINARY_ORDER_MIN) return undefined;
  return rounded(sign * BigInt(`0x${figures}`), 1n, power);
}

export function isFiniteLongDouble(value: LongDouble): boolean {
  return Number.isFinite(value.exponent);
}

/** a + b. REQUIRES: infinities of two signs do not meet, since NaN cannot be told; the sum is infinite then. */
export function addLongDoubles(a: LongDouble, b: LongDouble): LongDouble {
  if (!isFiniteLongDouble(a)) return a;
  if (!isFiniteLongDouble(b)) return b;
  const exponent = Math.min(a.exponent, b.exponent);
  const sum =
    (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent));
  return rounded(sum, 1n, exponent);
}

/** As "%.17Lf", without zeros behind the last figure of the fraction. REQUIRES: isFiniteLongDouble(value). */
export function formatLongDouble(value: LongDouble): string {
  const scaled = value.mantissa * 10n ** BigInt(FRACTION_DIGITS);
  const units =
    value.exponent >= 0
      ? scaled << BigInt(value.exponent)
      : dividedToEven(scaled, 1n << BigInt(-value.exponent));
  if (units === 0n) return "0";
  const figures = magnitude(units)
    .toString()
    .padStart(FRACTION_DIGITS + 1, "0");
  const whole = figures.slice(0, -FRACTION_DIGITS);
  const fraction = figures.slice(-FRACTION_DIGITS).replace(/0+$/, "");
  return `${units < 0n ? "-" : ""}${whole}${fraction === "" ? "" : "."}${fraction}`;
}

/** The long double nearest to numerator / denominator × 2^power. REQUIRES: denominator > 0. */
function rounded(numerator: bigint, denominator: bigint, power: number): LongDouble {
  if (numerator === 0n) return ZERO_LONG_DOUBLE;
  // Too small by one at most: then the quotient has one bit more than fits.
  let shift = bitLength(magnitude(numerator)) - bitLength(denominator) - MANTISSA_BITS;
  shift = Math.max(shift, EXPONENT_MIN - power);
  let mantissa = dividedByShift(numerator, denominator, shift);
  if (bitLength(magnitude(mantissa)) > MANTISSA_BITS) {
    shift++;
    mantissa = dividedByShift(numerator, denominator, shift);
  }
  if (bitLength(magnitude(mantissa)) > MANTISSA_BITS) {
    // Rounded up to the next power of two.
    mantissa /= 2n;
    shift++;
  }
  const exponent = shift + power;
  const isTooLarge = exponent + bitLength(magnitude(mantissa)) > EXPONENT_MAX + MANTISSA_BITS;
  return { mantissa, exponent: isTooLarge ? Number.POSITIVE_INFINITY : exponent };
}

/** numerator / (denominator × 2^shift), to the nearest integer. */
function dividedByShift(numerator: bigint, denominator: bigint, shift: number): bigint {
  if (shift >= 0) return dividedToEven(numerator, denominator << BigInt(shift));
  return dividedToEven(numerator << BigInt(-shift), denominator);
}

/** The integer nearest to a / b, ties to even. REQUIRES: b > 0. */
function dividedToEven(a: bigint, b: bigint): bigint {
  const size = magnitude(a);
  let quotient = size / b;
  const twice = (size - quotient * b) * 2n;
  if (twice > b || (twice === b && (quotient & 1n) === 1n)) quotient += 1n;
  return a < 0n ? -quotient : quotient;
}

function magnitude(value: bigint): bigint {
  return value < 0n ? -value : value;
}

/** Bits of a positive number. */
function bitLength(value: bigint): number {
  if (value === 0n) return 0;
  const text = value.toString(16);
  return text.length * 4 - Math.clz32(Number.parseInt(text[0]!, 16)) + 28;
}
