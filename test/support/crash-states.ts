/**
 * What a disk may hold after power failed: of everything that no sync covers, any part may be there or not.
 *
 *   trace[0, n) → durable contents and names + pending data changes per file + pending changes of names
 *   state = durable + a choice among the pending:
 *     kept         all of it (the state after the process alone died)
 *     lost         nothing; also: only the data, only the names
 *     drop         all but one write or truncation
 *     tear         all, but the last write ends at a boundary of 512 or 4,096 bytes
 *     name         all but one create, rename or remove
 *     some         each with probability one half
 *
 * Bytes before a dropped write's end that nothing else wrote are zeros, as in a file with a hole.
 */
import {
  type Change,
  type DataChange,
  type DiskImage,
  directoryOf,
  type NameChange,
  type TracedFileSystem,
} from "./traced-file-system.ts";

export interface CrashState {
  /** For messages: which choice this is. */
  readonly name: string;
  readonly image: DiskImage;
}

/** Uniform in [0, 1). */
export type Random = () => number;

interface Pending<T> {
  readonly at: number;
  readonly change: T;
}

interface FileState {
  durable: Uint8Array;
  /** Durable, too, and not yet in `durable`: files are long, syncs are many, and few of their results are looked at. */
  readonly synced: Pending<DataChange>[];
  readonly pending: Pending<DataChange>[];
}

/** So many synced changes are merged at the latest: their bytes take memory. */
const SYNCED_MAX = 256;

/** Shares of what no sync covers that survive a power failure. */
const SURVIVAL = [0.1, 0.5, 0.9];

const NO_BYTES = new Uint8Array(0);
const SECTORS = [512, 4096];
/** Dropped changes tried per point of the trace. */
const DROPS_MAX = 3;

type DataChoice = (change: Pending<DataChange>) => DataChange | undefined;
type NameChoice = (change: Pending<NameChange>) => boolean;

const keepData: DataChoice = ({ change }) => change;
const keepName: NameChoice = () => true;

export class CrashStates {
  readonly #files = new Map<number, FileState>();
  readonly #names = new Map<string, number>();
  #pendingNames: Pending<NameChange>[] = [];
  #at = 0;

  constructor(fileSystem: TracedFileSystem<unknown>) {
    for (const [path, file] of fileSystem.initialFiles) {
      this.#names.set(path, file);
      const durable = fileSystem.initial.get(path)!;
      this.#files.set(file, { durable, synced: [], pending: [] });
    }
  }

  /** Takes the next change of the trace. */
  add(change: Change): void {
    const at = this.#at++;
    switch (change.kind) {
      case "write":
      case "truncate":
        this.#file(change.file).pending.push({ at, change });
        break;
      case "sync":
        this.#sync(this.#file(change.file), change.before);
        break;
      case "sync-directory":
        this.#syncNames(change.path, change.before);
        break;
      default:
        this.#pendingNames.push({ at, change });
    }
  }

  /** States that the disk may be in now. */
  *states(random: Random): Generator<CrashState> {
    yield { name: "kept", image: this.#image(keepData, keepName) };
    const data = [...this.#files.values()].flatMap((file) => file.pending);
    const names = this.#pendingNames;
    if (data.length === 0 && names.length === 0) return;
    yield { name: "lost", image: this.#image(drop, () => false) };
    if (data.length > 0 && names.length > 0) {
      yield { name: "data lost", image: this.#image(drop, keepName) };
      yield { name: "names lost", image: this.#image(keepData, () => false) };
    }
    for (const one of sample(data, DROPS_MAX, random)) {
      const image = this.#image(
        (pending) => (pending === one ? undefined : pending.change),
        keepName,
      );
      yield { name: `drop ${one.change.kind} ${one.at}`, image };
    }
    yield* this.#torn(data);
    for (const one of sample(names, DROPS_MAX, random)) {
      const image = this.#image(keepData, (pending) => pending !== one);
      yield { name: `name ${one.change.kind} ${one.change.path} ${one.at}`, image };
    }
    if (data.length + names.length < 2) return;
    yield {
      name: "some",
      image: this.#image(
        ({ change }) => (random() < 0.5 ? change : undefined),
        () => random() < 0.5,
      ),
    };
  }

  /** One state that the disk may be in now, by chance. */
  choose(random: Random): CrashState {
    const kind = Math.floor(random() * 5);
    if (kind === 0) return { name: "kept", image: this.#image(keepData, keepName) };
    if (kind === 1) return { name: "lost", image: this.#image(drop, () => false) };
    if (kind === 2) return this.#before(random);
    const share = SURVIVAL[Math.floor(random() * SURVIVAL.length)]!;
    const data: DataChoice = ({ change }) => {
      if (random() < share) return change;
      return random() < 0.5 ? tear(change, random) : undefined;
    };
    return { name: `some ${share}`, image: this.#image(data, () => random() < share) };
  }

  /** A sync of changes before `before` has failed: each is on the disk or never will be. */
  failSync(id: number, before: number, isWritten: () => boolean): void {
    const file = this.#file(id);
    const kept = file.pending.filter((pending) => pending.at >= before || isWritten());
    file.pending.splice(0, file.pending.length, ...kept);
    this.#sync(file, before);
  }

  /** All up to some moment, the change at that moment in part. */
  #before(random: Random): CrashState {
    const all = [...this.#files.values()].flatMap((file) => file.pending);
    const from = Math.min(this.#at, ...all.map(({ at }) => at));
    const end = from + Math.floor(random() * (this.#at - from + 1));
    const data: DataChoice = ({ at, change }) => {
      if (at < end) return change;
      return at === end ? tear(change, random) : undefined;
    };
    return { name: `before ${end}`, image: this.#image(data, ({ at }) => at < end) };
  }

  *#torn(data: readonly Pending<DataChange>[]): Generator<CrashState> {
    const last = data.reduce<Pending<DataChange> | undefined>(
      (best, pending) => (best === undefined || pending.at > best.at ? pending : best),
      undefined,
    );
    if (last?.change.kind !== "write") return;
    const { position, bytes } = last.change;
    for (const sector of SECTORS) {
      const firstEnd = sector - (position % sector);
      if (firstEnd >= bytes.length) continue;
      const sectors = Math.ceil((bytes.length - firstEnd) / sector);
      for (const end of new Set([firstEnd, firstEnd + (sectors >> 1) * sector])) {
        const short = { ...last.change, bytes: bytes.subarray(0, end) };
        const image = this.#image(
          (pending) => (pending === last ? short : pending.change),
          keepName,
        );
        yield { name: `tear ${last.at} after ${end} of ${bytes.length}`, image };
      }
    }
  }

  #file(id: number): FileState {
    let file = this.#files.get(id);
    if (file === undefined) {
      file = { durable: NO_BYTES, synced: [], pending: [] };
      this.#files.set(id, file);
    }
    return file;
  }

  #sync(file: FileState, before: number): void {
    const first = file.pending.findIndex((pending) => pending.at >= before);
    file.synced.push(...file.pending.splice(0, first < 0 ? file.pending.length : first));
    if (file.synced.length >= SYNCED_MAX) mergeSynced(file);
  }

  #syncNames(directory: string, before: number): void {
    const isCovered = ({ at, change }: Pending<NameChange>): boolean =>
      at < before && directoryOf(change.path) === directory;
    for (const { change } of this.#pendingNames.filter(isCovered)) applyName(this.#names, change);
    this.#pendingNames = this.#pendingNames.filter((pending) => !isCovered(pending));
  }

  #image(chooseData: DataChoice, chooseName: NameChoice): DiskImage {
    const names = new Map(this.#names);
    for (const pending of this.#pendingNames) {
      if (chooseName(pending)) applyName(names, pending.change);
    }
    const image = new Map<string, Uint8Array>();
    for (const [path, id] of names) image.set(path, contentOf(this.#file(id), chooseData));
    return image;
  }
}

const drop: DataChoice = () => undefined;

/** The first sectors of a write; undefined: not even one. */
function tear(change: DataChange, random: Random): DataChange | undefined {
  if (change.kind !== "write") return undefined;
  const sector = SECTORS[Math.floor(random() * SECTORS.length)]!;
  const firstEnd = sector - (change.position % sector);
  if (firstEnd >= change.bytes.length) return undefined;
  const sectors = Math.ceil((change.bytes.length - firstEnd) / sector);
  const end = firstEnd + Math.floor(random() * sectors) * sector;
  return { ...change, bytes: change.bytes.subarray(0, end) };
}

function applyName(names: Map<string, number>, change: NameChange): void {
  if (change.kind === "create") names.set(change.path, change.file);
  else names.delete(change.path);
  if (change.kind === "rename") names.set(change.to, change.file);
}

function mergeSynced(file: FileState): void {
  file.durable = applied(
    file.durable,
    file.synced.map(({ change }) => change),
  );
  file.synced.length = 0;
}

function contentOf(file: FileState, choose: DataChoice): Uint8Array {
  mergeSynced(file);
  return applied(
    file.durable,
    file.pending.map(choose).filter((change) => change !== undefined),
  );
}

/** `durable` itself when nothing changes it. */
function applied(durable: Uint8Array, changes: readonly DataChange[]): Uint8Array {
  if (changes.length === 0) return durable;
  let size = durable.length;
  for (const change of changes) {
    if (change.kind === "write") size = Math.max(size, change.position + change.bytes.length);
  }
  const bytes = new Uint8Array(size);
  bytes.set(durable);
  let length = durable.length;
  for (const change of changes) {
    if (change.kind === "write") {
      bytes.set(change.bytes, change.position);
      length = Math.max(length, change.position + change.bytes.length);
    } else {
      bytes.fill(0, change.length, Math.max(length, change.length));
      length = change.length;
    }
  }
  return bytes.subarray(0, length);
}

function sample<T>(items: readonly T[], count: number, random: Random): T[] {
  if (items.length <= count) return [...items];
  const chosen = new Set<T>([items.at(-1)!]);
  while (chosen.size < count) chosen.add(items[Math.floor(random() * items.length)]!);
  return [...chosen];
}

/** A seeded generator (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
