/**
 * A campaign: a cluster in a lab, clients that never stop, one fault after the other, and a judgement.
 *
 *     start ─► clients ─► { fault ─► heal ─► until whole ─► audit } … ─► clients stop ─► read all, compare replicas ─► judge
 *
 * The seed chooses faults, their victims and lengths and what clients do; the timing is the machine's.
 */
import { SimRandom } from "../sim/random.ts";
import { Auditor } from "./auditor.ts";
import { Availability } from "./availability.ts";
import { ballast } from "./ballast.ts";
import { whyNoDiskErrors } from "./disk-faults.ts";
import { DkvTarget } from "./dkv-target.ts";
import { FailoverMonitor } from "./failover-monitor.ts";
import { FAULTS, type Fault } from "./faults.ts";
import { lostOf } from "./findings.ts";
import { FaultImpossible, Lab } from "./lab.ts";
import { CLIENT_HOSTS, LabClients } from "./lab-clients.ts";
import { LabNetwork } from "./lab-network.ts";
import { zookeeperHosts } from "./lab-zookeeper.ts";
import { auditCounts, auditDocuments } from "./move-audit.ts";
import { MOVE_FAULTS } from "./move-faults.ts";
import { RecordedHistory } from "./recorded-history.ts";
import { RedisTarget } from "./redis-target.ts";
import { sharedMicros } from "./shared-clock.ts";
import { type Interruption, SlotMoves } from "./slot-moves.ts";
import type { TargetName } from "./target.ts";
import { judge, type Verdict } from "./verdict.ts";
import { generationOf, TAGS } from "./workload.ts";

export interface CampaignOptions {
  readonly target: TargetName;
  readonly seed: number;
  readonly minutes: number;
  /** So many moves of slots under way are interrupted, and then it ends, whatever the time. */
  readonly moves: number | undefined;
  readonly sets: number;
  readonly nodesPerSet: number;
  readonly writeQuorum: number;
  readonly coordinators: 1 | 3;
  /** Operations a second of all clients. */
  readonly rate: number;
  /** Names of faults: chosen among these; or, with `once`, each of them in this order, and then the end, without `moves`. */
  readonly faults: readonly string[];
  readonly once: boolean;
  /** How likely a second fault comes while the first one lasts. */
  readonly overlap: number;
  /** Whether it goes on when acknowledged writes are missing. */
  readonly goesOn: boolean;
  readonly directory: string;
  readonly say: (line: string) => void;
}

/** A fault as it was. */
export interface FaultRun {
  readonly name: string;
  readonly startMicros: number;
  readonly healedMicros: number;
  /** When every set had its writer and all its replicas again. */
  readonly wholeMicros: number;
}

export interface CampaignResult {
  readonly verdict: Verdict;
  readonly history: RecordedHistory;
  readonly faults: readonly FaultRun[];
  readonly failovers: number;
  /** Undefined: slots stayed where they were. */
  readonly moves: MovesResult | undefined;
  readonly availability: Availability;
  /** The cluster did not do what it must, apart from what clients saw. */
  readonly failures: readonly string[];
  readonly seconds: number;
}

export interface MovesResult {
  readonly count: number;
  readonly interruptions: readonly Interruption[];
}

const CLIENT_TIMEOUT_MS = 2000;
/** By then an operation that has begun has ended, and the campaign has heard of it. */
const REPORTED_MS_MAX = CLIENT_TIMEOUT_MS + 1000;
const GENERATION_MS = 10_000;
/** Keys of so many generations before the newest are read after each fault, and a sample of older ones. */
const AUDITED_GENERATIONS = 4;
const AUDITED_OLD = 200;
const CALM_MS = [300, 2000] as const;
/** From the start of a fault to that of another one with it. */
const OVERLAP_MS = [0, 3000] as const;
/** Clients that have just started take their time. */
const FIRST_ANSWERS = 200;
const FIRST_MS_MAX = 30_000;
/** A fault may come when the last move has just been decided. */
const ATTEMPTS_PER_MOVE = 2;

const ALL_TAGS: readonly number[] = Array.from({ length: TAGS }, (_, tag) => tag);
const ALL_FAULTS = [...FAULTS, ...MOVE_FAULTS];

export class Campaign {
  readonly #options: CampaignOptions;
  readonly #random: SimRandom;
  readonly #lab: Lab;
  readonly #chosen: readonly Fault[];
  readonly #auditor: Auditor;
  readonly #history = new RecordedHistory();
  readonly #availability = new Availability();
  /** By key, how many acknowledged writes audits did not find. */
  readonly #missing = new Map<string, number>();
  readonly #faults: FaultRun[] = [];
  readonly #failures: string[] = [];
  readonly #startMicros = sharedMicros();

  constructor(options: CampaignOptions) {
    this.#options = options;
    this.#random = new SimRandom(options.seed);
    this.#chosen = options.faults.map((name) => ALL_FAULTS.find((fault) => fault.name === name)!);
    const { sets, nodesPerSet, target: name, coordinators } = options;
    const nodes = Array.from({ length: sets * nodesPerSet }, (_, index) => `n${index + 1}`);
    const others = name === "dkv" ? zookeeperHosts(coordinators) : [];
    const network = new LabNetwork([...nodes, ...others, ...CLIENT_HOSTS]);
    const target =
      name === "dkv"
        ? new DkvTarget({ ...options, network, hosts: nodes })
        : new RedisTarget({ ...options, network, hosts: nodes });
    this.#lab = new Lab(target, network, this.#random.fork("lab"), options);
    this.#auditor = new Auditor(this.#lab);
  }

  async run(): Promise<CampaignResult> {
    const { say } = this.#options;
    await this.#lab.target.start();
    await this.#lab.untilWhole();
    say(`${this.#options.target} is whole after ${this.#elapsed()} s`);
    if (this.#options.moves !== undefined) await this.#startMoves();
    const monitor = new FailoverMonitor(this.#lab.target.nodes);
    const clients = this.#startClients();
    await this.#untilBusy();
    await this.#torment();
    await Bun.sleep(this.#random.between(...CALM_MS));
    await this.#endMoves();
    await clients.stop();
    if (this.#failures.length === 0) await this.#readAll();
    await monitor.stop();
    await this.#lab.killAll();
    await this.#lab.target.coordination?.kill();
    say(`${this.#history.keys.size} keys to check after ${this.#elapsed()} s`);
    return {
      verdict: judge(this.#history),
      history: this.#history,
      faults: this.#faults,
      failovers: monitor.count,
      moves: this.#lab.moves,
      availability: this.#availability,
      failures: this.#failures,
      seconds: this.#elapsed(),
    };
  }

  #elapsed(): number {
    return Math.round((sharedMicros() - this.#startMicros) / 1e6);
  }

  #startClients(): LabClients {
    const { rate, seed } = this.#options;
    const plan = {
      ...{ seed, rate, timeoutMs: CLIENT_TIMEOUT_MS },
      ...{ startMicros: sharedMicros(), generationMs: GENERATION_MS },
      nodes: this.#lab.target.nodes.map(({ address }) => address),
      tagSets: this.#lab.moves === undefined ? this.#tagSets() : [ALL_TAGS],
    };
    return new LabClients(this.#lab.network, plan, (record) => {
      this.#history.add(record);
      if (record.outcome === "ok" && record.call.kind !== "get")
        this.#availability.answered(this.#groupOf(record.key), record.returnMicros);
    });
  }

  /** Whose writes are looked at together: a set's, or while slots move a slot's. */
  #groupOf(key: string): number {
    const { target, moves } = this.#lab;
    return moves === undefined ? this.#auditor.setOf(key) : target.slotOf(key);
  }

  async #untilBusy(): Promise<void> {
    const deadline = performance.now() + FIRST_MS_MAX;
    while (this.#history.counts.ok < FIRST_ANSWERS) {
      if (performance.now() > deadline) throw new Error("clients get no answers");
      await Bun.sleep(100);
    }
  }

  /** The tags of each replica set, and all of them. */
  #tagSets(): (readonly number[])[] {
    const bySet = this.#lab.sets.map((_, set) =>
      ALL_TAGS.filter((tag) => this.#auditor.setOf(`{t${tag}}`) === set),
    );
    return [...bySet, ALL_TAGS];
  }

  async #startMoves(): Promise<void> {
    for (const record of await ballast(this.#lab.target.nodes[0]!)) this.#history.add(record);
    this.#lab.moves = await SlotMoves.start(this.#lab);
  }

  /** While clients go on. */
  async #endMoves(): Promise<void> {
    const { moves, target } = this.#lab;
    if (moves === undefined) return;
    try {
      await moves.stop();
      await this.#lab.untilWhole();
      this.#failures.push(...(await auditDocuments(target.coordination!.address)));
    } catch (error) {
      this.#failures.push(`moves of slots: ${error instanceof Error ? error.message : error}`);
    }
    const hits = moves.interruptions.length;
    const wanted = this.#options.moves!;
    if (hits < wanted) this.#failures.push(`${hits} moves were interrupted, not ${wanted}`);
  }

  /** Whether there is another fault after `count`. */
  #goesOn(count: number): boolean {
    const { minutes, moves, once } = this.#options;
    if (moves !== undefined) {
      const isDone = this.#lab.moves!.interruptions.length >= moves;
      return !isDone && count < moves * ATTEMPTS_PER_MOVE;
    }
    if (once) return count < this.#chosen.length;
    return sharedMicros() < this.#startMicros + minutes * 60e6;
  }

  /** Fault after fault, until there were enough or something is wrong. */
  async #torment(): Promise<void> {
    const { once } = this.#options;
    const chosen = this.#chosen;
    for (let i = 0; this.#goesOn(i); i++) {
      const weights = chosen.map(({ weight }) => weight);
      await this.#inflict(
        once ? chosen[i % chosen.length]! : chosen[this.#random.weighted(weights)]!,
      );
      if (this.#failures.length > 0) return;
      if (this.#missing.size > 0 && !this.#options.goesOn) return;
      await Bun.sleep(this.#random.between(...CALM_MS));
    }
  }

  /** One fault, and sometimes another one while it lasts. */
  async #inflict(fault: Fault): Promise<void> {
    const others = this.#chosen.filter(({ overlaps }) => overlaps);
    const isAlone = this.#options.once || others.length === 0;
    const isDouble = !isAlone && this.#random.chance(this.#options.overlap);
    const faults = isDouble ? [fault, this.#random.pick(others)] : [fault];
    const name = faults.map((each) => each.name).join(" + ");
    const startMicros = sharedMicros();
    await Promise.all(
      faults.map(async (each, index) => {
        if (index > 0) await Bun.sleep(this.#random.between(...OVERLAP_MS));
        await this.#run(each, isDouble);
      }),
    );
    const healedMicros = sharedMicros();
    this.#failures.push(...this.#lab.crashes());
    try {
      await this.#lab.heal();
      await this.#lab.untilWhole();
    } catch (error) {
      this.#failures.push(`after ${name}: ${error instanceof Error ? error.message : error}`);
      return;
    }
    this.#failures.push(...this.#lab.crashes());
    const wholeMicros = sharedMicros();
    for (const each of faults)
      this.#faults.push({ name: each.name, startMicros, healedMicros, wholeMicros });
    await this.#audit();
    const lasted = ((healedMicros - startMicros) / 1e6).toFixed(1);
    const healing = ((wholeMicros - healedMicros) / 1e6).toFixed(1);
    const missing = [...this.#missing.values()].reduce((sum, count) => sum + count, 0);
    const found = missing === 0 ? "" : `, ${missing} writes are missing`;
    this.#options.say(
      `${this.#elapsed()} s: ${name} for ${lasted} s, whole after ${healing} s${found}`,
    );
  }

  async #run(fault: Fault, isDouble: boolean): Promise<void> {
    try {
      await fault.run(this.#lab);
    } catch (error) {
      const text = `${fault.name}: ${error instanceof Error ? error.message : error}`;
      if (isDouble && error instanceof FaultImpossible) this.#options.say(text);
      else this.#failures.push(text);
    }
  }

  /** Reads what was written of late, and some of the rest. */
  async #audit(): Promise<void> {
    const keys = [...this.#history.keys.keys()];
    const newest = keys.reduce((max, key) => Math.max(max, generationOf(key)), 0);
    const recent = keys.filter((key) => generationOf(key) > newest - AUDITED_GENERATIONS);
    const old = this.#random.shuffle(keys.filter((key) => !recent.includes(key)));
    const audited = [...recent, ...old.slice(0, AUDITED_OLD)];
    for (const record of await this.#auditor.read(audited)) this.#history.add(record);
    const lostIn = (key: string) => lostOf(this.#history.keys.get(key)!.operations).length;
    const suspects = audited.filter((key) => lostIn(key) > 0);
    // The write whose value was read may not have been reported yet.
    if (suspects.length > 0) await Bun.sleep(REPORTED_MS_MAX);
    for (const key of suspects) if (lostIn(key) > 0) this.#missing.set(key, lostIn(key));
  }

  async #readAll(): Promise<void> {
    const keys = [...this.#history.keys.keys()];
    for (const record of await this.#auditor.read(keys)) this.#history.add(record);
    this.#failures.push(...(await this.#auditor.compareReplicas(keys)));
    if (this.#lab.moves !== undefined)
      this.#failures.push(...(await auditCounts(this.#lab, this.#history)));
  }
}

/** Names of the faults that a target can be given here; says why when there are fewer than there could be. */
export function faultsFor(
  target: TargetName,
  hasMoves: boolean,
  say: (line: string) => void,
): string[] {
  if (hasMoves) return MOVE_FAULTS.map(({ name }) => name);
  const why = whyNoDiskErrors();
  const possible = FAULTS.filter(({ on }) => on.includes(target));
  if (why === "" || target !== "dkv") return possible.map(({ name }) => name);
  say(`no disk errors: ${why}`);
  return possible.filter(({ name }) => name !== "disk-error").map(({ name }) => name);
}
