/** The load generator's parts: scanning replies at every split, permutations, popularity, acknowledged inserts. */

import { expect, test } from "bun:test";
import { Permutation, Random } from "../../bench/load/random.ts";
import {
  REPLY_ERROR,
  REPLY_INTEGER,
  REPLY_NULL,
  REPLY_STATUS,
  REPLY_VALUE,
  ReplyScanner,
} from "../../bench/load/reply-scanner.ts";
import {
  AcknowledgedCounter,
  createWorkload,
  INSERT,
  READ,
  READ_MODIFY_WRITE,
  WRITE,
  YCSB_NAMES,
} from "../../bench/load/workloads.ts";
import { Zipfian } from "../../bench/load/zipfian.ts";

type Seen = [kind: number, stamp: number, text: string];

function scan(chunks: Buffer[]): Seen[] {
  const seen: Seen[] = [];
  const scanner = new ReplyScanner({
    onReply: (kind, stamp, text) => seen.push([kind, stamp, text]),
  });
  for (const chunk of chunks) scanner.feed(chunk);
  return seen;
}

test("ReplyScanner sees the same replies wherever the stream is split", () => {
  const stream = Buffer.from(
    "+OK\r\n$9\r\n\x07\x01\0\0\r\n+x-\r\n$-1\r\n:12\r\n-ERR no\r\n_\r\n$0\r\n\r\n$2\r\nab\r\n+PONG\r\n",
    "latin1",
  );
  const expected: Seen[] = [
    [REPLY_STATUS, 0, ""],
    [REPLY_VALUE, 0x107, ""],
    [REPLY_NULL, 0, ""],
    [REPLY_INTEGER, 12, ""],
    [REPLY_ERROR, 0, "-ERR no"],
    [REPLY_NULL, 0, ""],
    [REPLY_VALUE, 0, ""],
    [REPLY_VALUE, 0, ""],
    [REPLY_STATUS, 0, ""],
  ];
  for (let first = 0; first <= stream.length; first++) {
    for (let second = first; second <= stream.length; second++) {
      const chunks = [
        stream.subarray(0, first),
        stream.subarray(first, second),
        stream.subarray(second),
      ];
      expect(scan(chunks), `split at ${first} and ${second}`).toEqual(expected);
    }
  }
});

test("ReplyScanner gives integers as their own stamp", () => {
  const stamps = scan([Buffer.from(":0\r\n:17\r\n:-2"), Buffer.from("05\r\n")]);
  expect(stamps.map(([, stamp]) => stamp)).toEqual([0, 17, -205]);
});

test("ReplyScanner refuses what no generator asks for", () => {
  expect(() => scan([Buffer.from("*1\r\n+OK\r\n")])).toThrow("unexpected reply");
});

test("Permutation visits every index once, and not in order", () => {
  for (const count of [1, 2, 3, 10, 1000, 65_536, 65_537]) {
    for (const seed of [1, 11, 14]) {
      const permutation = new Permutation(count, seed);
      const seen = new Uint8Array(count);
      let ascents = 0;
      for (let i = 0; i < count; i++) {
        const place = permutation.at(i);
        seen[place]!++;
        if (i > 0 && place === permutation.at(i - 1) + 1) ascents++;
      }
      expect(
        seen.every((times) => times === 1),
        `count ${count} seed ${seed}`,
      ).toBe(true);
      if (count >= 1000) expect(ascents / count).toBeLessThan(0.01);
    }
  }
});

test("Zipfian gives ranks the shares of its law", () => {
  const count = 1000;
  const zipfian = new Zipfian(count, 0.99);
  const random = new Random(5);
  const draws = 400_000;
  const times = new Uint32Array(count);
  for (let i = 0; i < draws; i++) times[zipfian.next(random)]!++;
  let zeta = 0;
  for (let rank = 1; rank <= count; rank++) zeta += rank ** -0.99;
  expect(times[0]! / draws).toBeCloseTo(1 / zeta, 2);
  expect(times[1]! / draws).toBeCloseTo(0.5 ** 0.99 / zeta, 2);
  // Gray's method is approximate beyond the second rank: compare the sum of a decade.
  let expected = 0;
  for (let rank = 11; rank <= 100; rank++) expected += rank ** -0.99 / zeta;
  const measured = times.subarray(10, 100).reduce((sum, n) => sum + n, 0) / draws;
  expect(measured).toBeCloseTo(expected, 1);
  expect(times[count - 1]).toBeLessThan(times[0]! / 100);
});

test("AcknowledgedCounter is readable up to the first gap", () => {
  const counter = new AcknowledgedCounter(100);
  expect([counter.next(), counter.next(), counter.next()]).toEqual([100, 101, 102]);
  counter.acknowledge(101);
  expect(counter.readable).toBe(100);
  counter.acknowledge(100);
  expect(counter.readable).toBe(102);
});

test("YCSB workloads keep their mix and read only keys that exist", () => {
  const shares = { a: 0.5, b: 0.05, c: 0, d: 0.05, f: 0.5 };
  const others = { a: WRITE, b: WRITE, c: READ, d: INSERT, f: READ_MODIFY_WRITE };
  const keys = 5000;
  const draws = 50_000;
  for (const name of YCSB_NAMES) {
    const workload = createWorkload({ kind: "ycsb", name, keys, firstInsert: keys, seed: 9 });
    let readable = keys;
    let other = 0;
    for (let i = 0; i < draws; i++) {
      expect(workload.advance()).toBe(true);
      if (workload.action !== READ) {
        expect(workload.action).toBe(others[name]);
        other++;
      }
      if (workload.action === INSERT) {
        expect(workload.key).toBe(readable++);
        workload.acknowledge(workload.key);
      } else if (workload.key < 0 || workload.key >= readable) {
        throw new Error(`${name} picked key ${workload.key} of ${readable}`);
      }
    }
    expect(other / draws, name).toBeCloseTo(shares[name], 2);
  }
});

test("a fill writes every key once and ends", () => {
  const workload = createWorkload({ kind: "fill", keys: 300, seed: 2 });
  const keys = new Set<number>();
  while (workload.advance()) keys.add(workload.key);
  expect(keys.size).toBe(300);
  expect(workload.advance()).toBe(false);
});

test("a mix reads and writes half and half, and ends", () => {
  const workload = createWorkload({ kind: "mixed", keys: 10, operations: 10_000, seed: 3 });
  const times = new Map<number, number>();
  while (workload.advance()) times.set(workload.action, (times.get(workload.action) ?? 0) + 1);
  const reads = times.get(READ)!;
  expect(reads + times.get(WRITE)!).toBe(10_000);
  expect(reads / 10_000).toBeCloseTo(0.5, 1);
});
