/**
 * Opens a store on what a crash left of its disk, and checks all that is promised:
 *
 *   it opens; it shows some prefix of the history, with every unit that was acknowledged, each whole; DBSIZE and
 *   SCAN agree with it; no file is left over; and it works on: writes, flushes, opens again.
 */
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { SyncPolicy } from "../../src/store/commit-pipeline.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { type DiskImage, TracedFileSystem } from "../support/traced-file-system.ts";
import {
  contentsAfter,
  differences,
  keysIn,
  keysOf,
  MOVES_KEY,
  matchingPrefix,
  type Unit,
} from "./history.ts";
import { DIRECTORY, StoreSession } from "./store-session.ts";

export interface Expectation {
  readonly units: readonly Unit[];
  /** Units that must be there. */
  readonly atLeast: number;
  /** Time at the crash, and by how much the clock is wrong after it. */
  readonly wallMs: number;
  readonly wallJumpMs: number;
  readonly policy: SyncPolicy;
  readonly segmentBytes: number;
  /** Also writes, flushes and opens again. */
  readonly worksOn: boolean;
}

const EXTRA_KEYS = 6;
const EXTRA_BYTES = 9000;

function open(
  fileSystem: TracedFileSystem<undefined>,
  clock: SimulatedClock,
  wanted: Expectation,
): Promise<StoreSession> {
  const { policy, segmentBytes } = wanted;
  const executor = new InlineExecutor(fileSystem);
  return StoreSession.open({ fileSystem, clock, executor, policy, segmentBytes }, []);
}

/** Throws with a reason; resolves with the number of units that the disk held. */
export async function checkCrashState(image: DiskImage, wanted: Expectation): Promise<number> {
  const fileSystem = new TracedFileSystem(image, () => undefined);
  const clock = new SimulatedClock(wanted.wallMs + wanted.wallJumpMs, true);
  const session = await open(fileSystem, clock, wanted);
  const held = await checkContents(session, wanted.units, wanted);
  checkFiles(fileSystem);
  if (wanted.worksOn) {
    const { wallMs } = wanted;
    const units = [...wanted.units.slice(0, held), ...(await writeMore(session))];
    await checkContents(session, units, { atLeast: units.length, wallMs });
    await session.flush();
    await checkContents(session, units, { atLeast: units.length, wallMs });
    await session.store.close();
    if (fileSystem.openFiles !== 0) throw new Error(`${fileSystem.openFiles} files left open`);
    const again = await open(fileSystem, clock, wanted);
    await checkContents(again, units, { atLeast: units.length, wallMs });
    await close(again);
  } else {
    await close(session);
  }
  return held;
}

async function close(session: StoreSession): Promise<void> {
  await session.store.close();
  if (session.failure !== undefined) throw session.failure;
}

async function writeMore(session: StoreSession): Promise<Unit[]> {
  const before = session.units.length;
  for (let i = 0; i < EXTRA_KEYS; i++) {
    const key = `key-${i * 3}`;
    const value = Buffer.alloc(EXTRA_BYTES, `extra ${i}`);
    if (!session.isHeld(key)) await session.run(() => [session.put(key, value, 0)]);
  }
  return session.units.slice(before);
}

/** Returns the length of the prefix that the store shows. */
async function checkContents(
  session: StoreSession,
  units: readonly Unit[],
  expected: { readonly atLeast: number; readonly wallMs: number },
): Promise<number> {
  const { atLeast } = expected;
  const sizeBefore = await session.size();
  const keys = keysOf(units);
  const actual = await session.readAll(keys);
  const { nowMs } = session.store;
  const moment = { nowMs, latestMs: expected.wallMs };
  const held = matchingPrefix(units, atLeast, actual, moment);
  if (held.differing > 0) {
    const any = matchingPrefix(units, 0, actual, moment);
    const what =
      any.differing === 0 ? `the first ${any.count} units` : `no prefix (nearest ${any.count})`;
    const lines = differences(
      contentsAfter(units, any.differing === 0 ? atLeast : any.count),
      actual,
      moment,
    );
    throw new Error(`it shows ${what}; ${atLeast} must be there: ${lines.join("; ")}`);
  }
  const live = keysIn(actual);
  const size = await session.size();
  if (size !== live) throw new Error(`DBSIZE is ${size}, but ${live} keys exist`);
  if (sizeBefore < live || sizeBefore > held.keysMax) {
    throw new Error(`DBSIZE was ${sizeBefore}, not within ${live} … ${held.keysMax}`);
  }
  const scanned = (await session.scanAll()).sort();
  const existing = [...actual.keys()].filter((key) => key !== MOVES_KEY).sort();
  if (scanned.join() !== existing.join()) {
    throw new Error(`SCAN finds ${scanned.join()}, but there are ${existing.join()}`);
  }
  if (session.failure !== undefined) throw session.failure;
  return held.count;
}

function checkFiles(fileSystem: TracedFileSystem<undefined>): void {
  const strange = fileSystem
    .list(DIRECTORY)
    .filter((name) => name !== "IDENTITY" && name !== "IDENTITY.new");
  if (strange.length > 0) throw new Error(`strange files: ${strange.join()}`);
  const tables = fileSystem.list(`${DIRECTORY}/tables`);
  if (tables.includes("CURRENT.tmp")) throw new Error("CURRENT.tmp is left over");
  const manifests = tables.filter((name) => name.startsWith("MANIFEST"));
  if (manifests.length !== 1) throw new Error(`manifests: ${manifests.join()}`);
}
