/** Memory of the budget for large values and replies, as one unit takes it; the owner of its work gives it back. */
import type { ByteBudget } from "../base/byte-budget.ts";
import { OUT_OF_MEMORY, type UnitWork } from "./interrupt.ts";

/** As soon as it is free. */
export async function holdLarge(budget: ByteBudget, work: UnitWork, bytes: number): Promise<void> {
  // Who holds some already must not wait for others, who may wait for it.
  if (work.heldBytes > 0) {
    forceLarge(budget, work, bytes);
    return;
  }
  if (bytes > budget.capacity) throw OUT_OF_MEMORY;
  await budget.acquire(bytes);
  work.heldBytes += bytes;
}

/** At once, beyond the budget if there is no other way; throws a Refusal when it is too much. */
export function forceLarge(budget: ByteBudget, work: UnitWork, bytes: number): void {
  if (!budget.tryForce(bytes)) throw OUT_OF_MEMORY;
  work.heldBytes += bytes;
}
