/**
 * Microseconds of CLOCK_MONOTONIC: one clock for all processes of a campaign, in every network namespace. The
 * runtime's own monotonic clocks begin with their process, and the wall clock may jump.
 */
import { dlopen, FFIType } from "bun:ffi";

const CLOCK_MONOTONIC = 1;

const { symbols } = dlopen("libc.so.6", {
  clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
});
/** Seconds and nanoseconds. */
const time = new BigInt64Array(2);

export function sharedMicros(): number {
  symbols.clock_gettime(CLOCK_MONOTONIC, time);
  return Number(time[0]!) * 1e6 + Math.floor(Number(time[1]!) / 1000);
}
