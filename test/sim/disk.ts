/**
 * The disk of a simulated machine: production's FileSystem in virtual time, over the traced file system of the crash
 * tests.
 *
 *   program ─ mount() ─► MountedFile: latency, errors, capacity ─► TracedFileSystem: what the system's cache holds
 *                                                                       └ changes ─► CrashStates: what the disk holds
 *
 * A killed process loses nothing that it wrote; a power failure may lose, keep or tear everything that no sync
 * covers, names included. A failed sync leaves each change that it should have covered on the disk or drops it
 * for ever, and later syncs do not bring it back; the cache shows it until the program ends, and then it is gone.
 */
import { DiskError } from "../../src/base/errors.ts";
import type { File, FileSystem, OpenMode } from "../../src/base/file-system.ts";
import { CrashStates } from "../support/crash-states.ts";
import { type TracedFile, TracedFileSystem } from "../support/traced-file-system.ts";
import type { SimRandom } from "./random.ts";
import type { SimEvent } from "./scheduler.ts";

/** The process, or one of its threads, that a file system is mounted for. */
export interface DiskHost {
  readonly isAlive: boolean;
  /** A synchronous call has taken that long. */
  spend(micros: number): void;
  after(delayMicros: number, what: string, action: () => void): SimEvent;
  crash(kind: "kill" | "power"): void;
}

export interface DiskOptions {
  /** A sync takes this long on average, at least a third of it. */
  readonly syncMicros: number;
  /** A read that the system's cache does not answer. */
  readonly readMicros: number;
  readonly coldReadShare: number;
  readonly capacityBytes: number;
}

export type DiskOperation = "read" | "write" | "sync";

/** Synchronous calls that the system's cache answers. */
const CACHED_MICROS = 2;

export class SimDisk {
  readonly #random: SimRandom;
  readonly #chance: () => number;
  readonly options: DiskOptions;
  #cache!: TracedFileSystem<undefined>;
  #states!: CrashStates;
  #lostPages = false;
  #failing: DiskOperation | undefined = undefined;
  #crashAfter = 0;
  #crashKind: "kill" | "power" = "kill";
  /** Every wait is that many times as long. */
  slowness = 1;
  /** Bytes that others take of the capacity. */
  foreignBytes = 0;
  syncCount = 0;

  constructor(random: SimRandom, options: DiskOptions) {
    this.#random = random;
    this.#chance = () => random.unit();
    this.options = options;
    this.#load(new Map());
  }

  /** A file system for one life of a process; `host` decides how long it can be used. */
  mount(host: DiskHost): FileSystem {
    return new MountedFileSystem(this, this.#cache, host);
  }

  /** The program has ended, the machine has not. */
  unmount(): void {
    this.#failing = undefined;
    this.#crashAfter = 0;
    if (this.#lostPages) this.losePower();
  }

  /** What no sync covers is gone, or not; says how it went. */
  losePower(): string {
    const state = this.#states.choose(this.#chance);
    this.#load(state.image);
    return state.name;
  }

  /** All files are gone: another disk has been put in. */
  wipe(): void {
    this.#load(new Map());
  }

  /** The next such operation fails. */
  failNext(operation: DiskOperation): void {
    this.#failing = operation;
  }

  stopFailing(): void {
    this.#failing = undefined;
    this.#crashAfter = 0;
  }

  /** The process crashes at its `changes`-th change of the disk from now on. */
  crashAfter(changes: number, kind: "kill" | "power"): void {
    this.#crashAfter = changes;
    this.#crashKind = kind;
  }

  /** What the system's cache holds now: for checks after the end. */
  image(): ReadonlyMap<string, Uint8Array> {
    return this.#cache.image();
  }

  get freeBytes(): number {
    const { capacityBytes } = this.options;
    if (capacityBytes === Number.POSITIVE_INFINITY) return Number.MAX_SAFE_INTEGER;
    return Math.max(0, capacityBytes - this.foreignBytes - this.#cache.usedBytes);
  }

  /** Whether the process dies at this change. */
  isCrashDue(): boolean {
    return this.#crashAfter > 0 && --this.#crashAfter === 0;
  }

  crash(host: DiskHost): void {
    host.crash(this.#crashKind);
  }

  shouldFail(operation: DiskOperation): boolean {
    if (this.#failing !== operation) return false;
    this.#failing = undefined;
    return true;
  }

  failSync(file: number, before: number): void {
    this.#lostPages = true;
    this.#states.failSync(file, before, () => this.#random.chance(0.5));
  }

  syncMicros(): number {
    this.syncCount++;
    const { syncMicros } = this.options;
    return (syncMicros / 3 + this.#random.exponential((syncMicros * 2) / 3)) * this.slowness;
  }

  readMicros(): number {
    const { coldReadShare, readMicros } = this.options;
    if (!this.#random.chance(coldReadShare)) return CACHED_MICROS;
    return this.#random.exponential(readMicros) * this.slowness;
  }

  /** How much of a write gets through when the process dies in it. */
  partOf(bytes: number): number {
    return this.#random.below(bytes + 1);
  }

  #load(image: ReadonlyMap<string, Uint8Array>): void {
    this.#lostPages = false;
    this.#cache = new TracedFileSystem(
      image,
      () => undefined,
      (change) => this.#states.add(change),
    );
    this.#states = new CrashStates(this.#cache);
  }
}

/** What one process sees; without effect once the process is dead. */
class MountedFileSystem implements FileSystem {
  readonly #disk: SimDisk;
  readonly #cache: TracedFileSystem<undefined>;
  readonly #host: DiskHost;

  constructor(disk: SimDisk, cache: TracedFileSystem<undefined>, host: DiskHost) {
    this.#disk = disk;
    this.#cache = cache;
    this.#host = host;
  }

  open(path: string, mode: OpenMode): File {
    // What a dead process creates is nobody's.
    const isVoid = mode === "create" && !this.#mayChange();
    const cache = isVoid ? new TracedFileSystem(new Map(), () => undefined) : this.#cache;
    this.#host.spend(CACHED_MICROS);
    return new MountedFile(this.#disk, cache, this.#host, cache.open(path, mode));
  }

  exists(path: string): boolean {
    return this.#cache.exists(path);
  }

  list(directory: string): string[] {
    return this.#cache.list(directory);
  }

  makeDirectory(): void {}

  rename(from: string, to: string): void {
    if (this.#mayChange()) this.#cache.rename(from, to);
  }

  remove(path: string): void {
    if (this.#mayChange()) this.#cache.remove(path);
  }

  syncDirectory(path: string): void {
    if (!this.#mayChange()) return;
    this.#host.spend(this.#disk.syncMicros());
    if (this.#disk.shouldFail("sync")) throw errorOf("sync", path);
    this.#cache.syncDirectory(path);
  }

  syncDirectoryAsync(path: string): Promise<void> {
    if (!this.#mayChange()) return never();
    const before = this.#cache.changeCount;
    return new Promise((resolve, reject) => {
      this.#host.after(this.#disk.syncMicros(), "directory synced", () => {
        if (this.#disk.shouldFail("sync")) return reject(errorOf("sync", path));
        this.#cache.record({ kind: "sync-directory", path, before });
        resolve();
      });
    });
  }

  freeBytes(): number {
    return this.#disk.freeBytes;
  }

  #mayChange(): boolean {
    if (!this.#host.isAlive) return false;
    if (!this.#disk.isCrashDue()) return true;
    this.#disk.crash(this.#host);
    return false;
  }
}

class MountedFile implements File {
  readonly path: string;
  readonly #disk: SimDisk;
  readonly #cache: TracedFileSystem<undefined>;
  readonly #host: DiskHost;
  readonly #file: TracedFile;

  constructor(disk: SimDisk, cache: TracedFileSystem<undefined>, host: DiskHost, file: TracedFile) {
    this.path = file.path;
    this.#disk = disk;
    this.#cache = cache;
    this.#host = host;
    this.#file = file;
  }

  read(into: Uint8Array, position: number): number {
    if (this.#host.isAlive) {
      this.#host.spend(this.#disk.readMicros());
      if (this.#disk.shouldFail("read")) throw errorOf("read", this.path);
    }
    return this.#file.read(into, position);
  }

  readAsync(into: Uint8Array, position: number): Promise<number> {
    if (!this.#host.isAlive) return never();
    return new Promise((resolve, reject) => {
      this.#host.after(this.#disk.readMicros(), "read", () => {
        if (this.#disk.shouldFail("read")) return reject(errorOf("read", this.path));
        try {
          resolve(this.#file.read(into, position));
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }

  write(bytes: Uint8Array, position: number): void {
    if (!this.#host.isAlive) return;
    if (this.#disk.isCrashDue()) {
      const part = this.#disk.partOf(bytes.length);
      if (part > 0) this.#file.write(bytes.subarray(0, part), position);
      this.#disk.crash(this.#host);
      return;
    }
    this.#host.spend(CACHED_MICROS * this.#disk.slowness);
    const growth = position + bytes.length - this.#file.size();
    const isFull = growth > 0 && growth > this.#disk.freeBytes;
    if (isFull || this.#disk.shouldFail("write")) {
      const part = this.#disk.partOf(bytes.length - 1);
      if (part > 0 && !isFull) this.#file.write(bytes.subarray(0, part), position);
      throw errorOf(isFull ? "write: no space left on device" : "write", this.path);
    }
    this.#file.write(bytes, position);
  }

  sync(): void {
    if (!this.#mayChange()) return;
    this.#host.spend(this.#disk.syncMicros());
    if (this.#disk.shouldFail("sync")) {
      this.#disk.failSync(this.#file.id, this.#cache.changeCount);
      throw errorOf("sync", this.path);
    }
    this.#file.sync();
  }

  syncAsync(): Promise<void> {
    if (!this.#mayChange()) return never();
    const { id } = this.#file;
    const before = this.#cache.changeCount;
    return new Promise((resolve, reject) => {
      this.#host.after(this.#disk.syncMicros(), "synced", () => {
        if (this.#disk.shouldFail("sync")) {
          this.#disk.failSync(id, before);
          return reject(errorOf("sync", this.path));
        }
        this.#cache.record({ kind: "sync", file: id, before });
        resolve();
      });
    });
  }

  size(): number {
    return this.#file.size();
  }

  truncate(bytes: number): void {
    if (this.#mayChange()) this.#file.truncate(bytes);
  }

  close(): void {
    this.#file.close();
  }

  #mayChange(): boolean {
    if (!this.#host.isAlive) return false;
    if (!this.#disk.isCrashDue()) return true;
    this.#disk.crash(this.#host);
    return false;
  }
}

function errorOf(what: string, path: string): DiskError {
  return new DiskError(`cannot ${what}: input/output error`, { path });
}

/** For who is dead: settles never, so nothing follows from it. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}
