import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";

test("ByteBudget grants at once what fits and queues the rest in order", async () => {
  const budget = new ByteBudget(100);
  expect(budget.acquire(60)).toBeUndefined();
  const order: string[] = [];
  const second = budget.acquire(50)!.then(() => order.push("second"));
  const third = budget.acquire(10)!.then(() => order.push("third"));
  expect(budget.waiting).toBe(60);
  budget.release(60);
  await Promise.all([second, third]);
  expect(order).toEqual(["second", "third"]);
  expect(budget.used).toBe(60);
});

test("ByteBudget gives a holder larger than itself everything, alone", async () => {
  const budget = new ByteBudget(100);
  expect(budget.acquire(500)).toBeUndefined();
  const next = budget.acquire(1);
  expect(next).toBeInstanceOf(Promise);
  budget.release(500);
  await next;
  expect(budget.used).toBe(1);
});
