/**
 * A simulated machine with one process on it: it boots, crashes, is started again on the same disk, stops and goes on.
 *
 *   down ──boot()──► a Life ──crash("kill"|"power") or exit()──► down
 *                      │ pause() … resume(): events wait, in order, and so do those during a slow system call
 *
 * A Life is what one run of the program gets: its clock, disk, network and randomness. Once it is over nothing
 * that it does has any effect: its events are dropped, its writes and messages ignored, its promises never
 * settle. So a crash may strike in the middle of an event (at a change of the disk), and the rest of that event is harmless.
 */
import { assert } from "../../src/base/assert.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { FileSystem } from "../../src/base/file-system.ts";
import type { DiskHost, SimDisk } from "./disk.ts";
import type { Network, NetworkHost } from "./network.ts";
import { type ClockHost, MachineClock, NodeClock } from "./node-clock.ts";
import type { SimRandom } from "./random.ts";
import type { Scheduler, SimEvent } from "./scheduler.ts";

/** "kill": the system lives on, what was written stays. "power": what no sync covers may be gone. */
export type CrashKind = "kill" | "power";

/** Runs the program; what it throws or rejects with ends the process. */
export type Boot = (life: Life) => void | Promise<void>;

export interface ProcessOptions {
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly random: SimRandom;
  readonly disk: SimDisk;
  readonly boot: Boot;
  readonly turnMicros: number;
  readonly clockRate?: number;
  readonly wallOffsetMs?: number;
  /** The program has ended by itself: `error` says why. */
  onExit?(process: SimProcess, error: Error): void;
}

const MONOTONIC_START_MAX = 1e9;

export class Life implements ClockHost, NetworkHost, DiskHost {
  readonly process: SimProcess;
  readonly #scheduler: Scheduler;
  readonly name: string;
  readonly clock: Clock;
  readonly random: SimRandom;
  /** For the event loop: slow calls delay it. */
  readonly fileSystem: FileSystem;
  readonly network: Network;
  isAlive = true;
  isPaused = false;
  /** What is due while the process cannot run. */
  readonly #waiting: { readonly what: string; readonly action: () => void }[] = [];
  #isWakePlanned = false;
  /** Until when it is in a slow call or computes. */
  #busyUntil = 0;

  constructor(process: SimProcess, options: ProcessOptions) {
    const { random } = options;
    this.process = process;
    this.name = process.name;
    this.#scheduler = options.scheduler;
    this.network = options.network;
    this.random = random.fork("life");
    this.clock = new NodeClock(this, process.clock, {
      startMicros: this.random.below(MONOTONIC_START_MAX),
      turnMicros: options.turnMicros,
    });
    this.fileSystem = options.disk.mount(this);
  }

  nowMicros(): number {
    return Math.max(this.#scheduler.nowMicros, this.#busyUntil);
  }

  /** The current event takes that much longer: a system call that waits, a computation. */
  spend(micros: number): void {
    this.#busyUntil = this.nowMicros() + Math.ceil(micros);
  }

  after(delayMicros: number, what: string, action: () => void): SimEvent {
    // From the scheduler's time on: during an event the process may be ahead of it.
    const ahead = this.nowMicros() - this.#scheduler.nowMicros;
    return this.#scheduler.after(ahead + delayMicros, `${this.name} ${what}`, () =>
      this.run(what, action),
    );
  }

  /** An event of the outside (a message) for this process, now or when it can run. */
  run(what: string, action: () => void): void {
    if (!this.isAlive) return;
    if (this.isPaused || this.#waiting.length > 0 || this.#busyUntil > this.#scheduler.nowMicros) {
      this.#waiting.push({ what, action });
      this.#planWake();
      return;
    }
    action();
  }

  /** The program ends: an error that it cannot go on after. */
  exit(error: Error): void {
    if (this.isAlive) this.process.end(this, error);
  }

  /** The process that owns this life calls it. */
  wake(): void {
    this.#planWake();
  }

  crash(kind: CrashKind): void {
    if (this.isAlive) this.process.crash(kind);
  }

  #planWake(): void {
    if (this.isPaused || this.#isWakePlanned || this.#waiting.length === 0) return;
    this.#isWakePlanned = true;
    const delay = Math.max(0, this.#busyUntil - this.#scheduler.nowMicros);
    this.#scheduler.after(delay, `${this.name} goes on`, () => {
      this.#isWakePlanned = false;
      if (!this.isAlive || this.isPaused) return;
      const next = this.#waiting.shift();
      next?.action();
      this.#planWake();
    });
  }
}

export class SimProcess {
  readonly name: string;
  readonly disk: SimDisk;
  readonly clock: MachineClock;
  readonly #options: ProcessOptions;
  life: Life | undefined = undefined;
  bootCount = 0;
  crashCount = 0;
  /** Names what a kernel's boot id names. */
  powerLossCount = 0;
  /** It never comes back. */
  isGone = false;

  constructor(name: string, options: ProcessOptions) {
    this.name = name;
    this.disk = options.disk;
    this.clock = new MachineClock(options.clockRate ?? 1, options.wallOffsetMs ?? 0);
    this.#options = options;
  }

  get isUp(): boolean {
    return this.life !== undefined;
  }

  get isPaused(): boolean {
    return this.life?.isPaused ?? false;
  }

  boot(): void {
    if (this.isGone) return;
    assert(this.life === undefined, "a process boots while it runs");
    const life = new Life(this, this.#options);
    this.life = life;
    this.bootCount++;
    this.#note("boots", `${this.bootCount}`);
    this.#options.network.addHost(life);
    life.run("boot", () => {
      const attempt = async (): Promise<void> => await this.#options.boot(life);
      attempt().catch((error: Error) => life.exit(error));
    });
  }

  crash(kind: CrashKind): void {
    const life = this.life;
    if (life === undefined) return;
    this.#note("crashes", kind);
    this.crashCount++;
    this.#stop(life, kind);
    if (kind === "power") this.powerLossCount++;
    if (kind === "power") this.#note("disk", this.disk.losePower());
    else this.disk.unmount();
  }

  /** The machine is destroyed. */
  destroy(): void {
    this.#note("is gone");
    this.isGone = true;
    this.crash("power");
  }

  /** The program ends by itself. */
  end(life: Life, error: Error): void {
    assert(this.life === life, "a process ends that does not run");
    this.#note("exits", error.message);
    this.#stop(life, "kill");
    this.disk.unmount();
    this.#options.onExit?.(this, error);
  }

  pause(): void {
    if (this.life === undefined || this.life.isPaused) return;
    this.#note("pauses");
    this.life.isPaused = true;
  }

  resume(): void {
    if (this.life === undefined || !this.life.isPaused) return;
    this.#note("resumes");
    this.life.isPaused = false;
    this.life.wake();
  }

  setClockRate(rate: number): void {
    this.#note("clock rate", rate.toFixed(4));
    // A process in a slow call has read its clock ahead of the scheduler's time.
    const nowMicros = this.life?.nowMicros() ?? this.#options.scheduler.nowMicros;
    this.clock.setRate(rate, nowMicros);
  }

  #stop(life: Life, kind: CrashKind): void {
    life.isAlive = false;
    this.life = undefined;
    this.#options.network.removeHost(life, kind === "kill");
  }

  #note(what: string, detail = ""): void {
    const { scheduler } = this.#options;
    scheduler.trace.add(scheduler.nowMicros, `${this.name} ${what}`, detail);
  }
}
