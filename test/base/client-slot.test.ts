/** The slots of stock clients: CRC-16 as Redis Cluster computes it. test/server/commands/cluster.test.ts asks redis-server. */
import { expect, test } from "bun:test";
import { clientSlotOf } from "../../src/base/client-slot.ts";

const slotOf = (key: string) => clientSlotOf(Buffer.from(key));

test("the check value, and hash tags by Redis's rule", () => {
  expect(slotOf("123456789")).toBe(0x31c3 & 16_383);
  expect(slotOf("foo")).toBe(12_182);
  for (const key of ["{foo}", "a{foo}b", "{foo}{bar}", "}{foo}"]) expect(slotOf(key)).toBe(12_182);
  for (const key of ["{}foo", "{foo", "fo}o", "{}{foo}"]) expect(slotOf(key)).not.toBe(12_182);
});
