/** Random shapes of a store, and random steps to take it through, for comparing it with a Map. */
import fc from "fast-check";

export const KIB = 1024;
export const MIB = 1024 * KIB;
const KEYS = 24;

export const shape = fc.record({
  // Large values need segments that hold what is written at once.
  segmentBytes: fc.constantFrom(128 * KIB, 128 * KIB, 512 * KIB, 4 * MIB),
  segments: fc.integer({ min: 3, max: 6 }),
  policy: fc.constantFrom("always" as const, "everysec" as const, "no" as const),
  onDisk: fc.constantFrom(false, false, false, true),
  tuning: fc.record({
    blockBytes: fc.constantFrom(256, 1024, 4096),
    cacheBytes: fc.constantFrom(0, 64 * KIB, 4 * MIB),
    forceAsync: fc.boolean(),
    targetTableBytes: fc.constantFrom(16 * KIB, 256 * KIB),
    levelBaseBytes: fc.constantFrom(32 * KIB, MIB),
    levelMultiplier: fc.constantFrom(2, 10),
    level0Trigger: fc.integer({ min: 1, max: 4 }),
    level0DepthMax: fc.integer({ min: 2, max: 6 }),
    partitions: fc.constantFrom(1, 4),
    filterBitsPerKey: fc.constantFrom(0, 10),
    manifestBytes: fc.constantFrom(2 * KIB, MIB),
    compression: fc.constantFrom("none" as const, "zstd" as const),
    expiredPerJob: fc.constantFrom(1, 1000),
  }),
});
export type Shape = typeof shape extends fc.Arbitrary<infer T> ? T : never;

const key = fc.nat(KEYS - 1);
/** Tenths of the scale below: most values are short, some are in chunks, few are moved over several turns. */
const size = fc.tuple(
  fc.constantFrom("tiny", "tiny", "tiny", "small", "small", "chunked", "large"),
  fc.nat(1000),
);
const expiry = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 5000 }) },
);
const action = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("put" as const), key, size, expiry, seed: fc.nat(255) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("patch" as const),
      key,
      size,
      at: fc.nat(1000),
      seed: fc.nat(255),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("remove" as const), key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("expire" as const), key, expiry }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("read" as const),
      key,
      from: fc.nat(1000),
      to: fc.nat(1000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("size" as const) }) },
);
export type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

export const step = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      do: fc.constant("unit" as const),
      actions: fc.array(action, { minLength: 1, maxLength: 6, size: "max" }),
      isAborted: fc.constantFrom(false, false, false, true),
      // Goes on before the unit has ended.
      isConcurrent: fc.constantFrom(false, false, true),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("burst" as const),
      count: fc.integer({ min: 10, max: 120 }),
      from: fc.nat(1000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("removeAll" as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("advance" as const),
      ms: fc.integer({ min: 1, max: 3000 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("turns" as const),
      count: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("flush" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("scan" as const), count: fc.constantFrom(1, 3, 1000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reopen" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("check" as const) }) },
);
export type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
