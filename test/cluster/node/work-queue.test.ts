import { expect, test } from "bun:test";
import { WorkQueue } from "../../../src/cluster/node/work-queue.ts";

const unexpected = (error: Error): never => {
  throw error;
};

test("work is done at once until something waits, and then in order behind it", async () => {
  const queue = new WorkQueue(unexpected);
  const done: number[] = [];
  let release = (): void => undefined;
  queue.add(() => void done.push(1));
  expect(done).toEqual([1]);
  queue.add(async () => {
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    done.push(2);
  });
  expect(queue.isBusy).toBe(true);
  queue.add(() => void done.push(3));
  queue.add(() => void done.push(4));
  expect(done).toEqual([1]);
  release();
  await Promise.resolve().then(() => undefined);
  await new Promise<void>((resolve) => queue.add(resolve));
  expect(done).toEqual([1, 2, 3, 4]);
  expect(queue.isBusy).toBe(false);
});

test("work that is asked for by work comes behind what waits", async () => {
  const queue = new WorkQueue(unexpected);
  const done: string[] = [];
  queue.add(() => Promise.resolve());
  queue.add(() => {
    done.push("first");
    queue.add(() => void done.push("from within"));
  });
  queue.add(() => void done.push("second"));
  await new Promise<void>((resolve) => queue.add(resolve));
  expect(done).toEqual(["first", "second", "from within"]);
});

test("the first failure ends it: nothing behind is done, nothing is taken", async () => {
  for (const isLate of [false, true]) {
    const errors: string[] = [];
    const queue = new WorkQueue((error) => errors.push(error.message));
    let count = 0;
    queue.add(() => {
      if (!isLate) throw new Error("broken");
      return Promise.reject(new Error("broken"));
    });
    queue.add(() => void count++);
    await Promise.resolve().then(() => undefined);
    queue.add(() => void count++);
    expect(errors).toEqual(["broken"]);
    expect(count).toBe(0);
  }
});

test("what waits when it is stopped is dropped", async () => {
  const queue = new WorkQueue(unexpected);
  let count = 0;
  queue.add(() => Promise.resolve());
  queue.add(() => void count++);
  void queue.stop();
  await Promise.resolve().then(() => undefined);
  expect(count).toBe(0);
});
