/**
 * Assertions: they state what the program itself guarantees, so a failure is a bug and ends the process.
 * What clients, disks or peers may do wrong is never asserted; it is handled.
 */

/** Expensive checks (sorted output, poisoned buffers) run only when DKV_INVARIANTS=1; the tests set it. */
export const INVARIANTS: boolean = process.env["DKV_INVARIANTS"] === "1";

export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Hot: give a literal message; a template costs 38 ns a call even when the condition holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

export function unreachable(message: string): never {
  throw new AssertionError(message);
}
