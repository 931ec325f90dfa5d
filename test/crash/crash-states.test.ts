/**
 * Power fails at any moment: whatever the disk may then hold, the store opens and shows all that was acknowledged.
 * DKV_CRASH_STATES sets how many states are checked; campaign.ts checks many more.
 */
import { expect, test } from "bun:test";
import { runCrashStates } from "./crash-run.ts";

const STATES = Number(process.env["DKV_CRASH_STATES"] ?? 3000);
const FIRST_SEED = 1;
const SEEDS = 15;
/** Of an average trace, this many of the states are wanted. */
const TRACE_STATES = 1500;
const TIMEOUT_MS = 600_000;

test(
  "Store opens on every disk that a crash may leave",
  async () => {
    let checked = 0;
    const each = Math.ceil(STATES / SEEDS);
    for (let seed = FIRST_SEED; checked < STATES; seed++) {
      checked += await runCrashStates({
        seed,
        statesMax: each,
        pointShare: Math.min(1, each / TRACE_STATES),
      });
    }
    expect(checked).toBeGreaterThanOrEqual(STATES);
  },
  TIMEOUT_MS,
);
