/**
 * Slots of the lab's replica sets that move all the time, most of them slots that clients use, and what may be known of
 * a move: its document, by any node, and what the source's writer says that it is doing.
 *
 *     CLUSTER MOVE, a few slots to some set ─► moves wait, are under way, end ─► the next few, until stop()
 */

import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import type { ReplyValue } from "../support/raw-connection.ts";
import { command, hasSlot, type ReplicaSet } from "./cluster-view.ts";
import type { Lab } from "./lab.ts";
import type { LabNode } from "./target.ts";
import { TAGS } from "./workload.ts";

export interface Move {
  readonly id: string;
  readonly source: ReplicaSet;
  readonly destination: ReplicaSet;
  readonly slots: string;
  readonly state: string;
}

/** A move that its source's writer is busy with. */
export interface RunningMove {
  readonly slots: string;
  readonly phase: string;
}

/** A move under way that was interrupted. */
export interface Interruption {
  readonly kind: string;
  readonly state: string;
}

/** More are asked for when fewer are left. */
const MOVES_MIN = 10;
const TAG_SLOTS = 8;
const OTHER_SLOTS = 3;
const POLL_MS = 200;
const END_MS_MAX = 120_000;
const CLIENT_SLOTS = 16;

export class SlotMoves {
  readonly #lab: Lab;
  readonly #setIds: readonly string[];
  readonly #tagSlots: readonly number[];
  readonly #seen = new Set<string>();
  readonly interruptions: Interruption[] = [];
  #isStopping = false;
  #isMoving = true;
  readonly #running: Promise<void>;

  private constructor(lab: Lab, setIds: readonly string[]) {
    this.#lab = lab;
    this.#setIds = setIds;
    this.#tagSlots = Array.from({ length: TAGS }, (_, tag) => slotOfText(`t${tag}`));
    this.#running = this.#run();
  }

  /** REQUIRES: the cluster is whole. */
  static async start(lab: Lab): Promise<SlotMoves> {
    const ids = lab.sets.map(({ nodes }) => command(nodes[0]!, "CLUSTER", "MYSHARDID"));
    return new SlotMoves(lab, (await Promise.all(ids)).map(String));
  }

  /** Until the last move has ended after stop(). */
  get isMoving(): boolean {
    return this.#isMoving;
  }

  /** That somebody has seen. */
  get count(): number {
    return this.#seen.size;
  }

  /** Begins no more; resolves once none is left, and throws when that takes too long. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
    const deadline = performance.now() + END_MS_MAX;
    for (;;) {
      const left = await this.list();
      if (left?.length === 0) break;
      if (performance.now() > deadline)
        throw new Error(`moves of slots do not end: ${JSON.stringify(left?.map(textOf))}`);
      await Bun.sleep(POLL_MS);
    }
    this.#isMoving = false;
  }

  /** All documents of moves; undefined: nobody can read them now. `notBy` is not asked. */
  async list(notBy?: LabNode): Promise<Move[] | undefined> {
    for (const node of this.#lab.random.shuffle(this.#lab.target.nodes)) {
      if (node === notBy || !node.process.isRunning || node.process.isPaused) continue;
      const reply = await command(node, "CLUSTER", "MOVES").catch(() => undefined);
      if (!Array.isArray(reply)) continue;
      const moves = reply.map((fields: ReplyValue[]) => this.#moveOf(fields));
      for (const { id } of moves) this.#seen.add(id);
      return moves;
    }
    return undefined;
  }

  #moveOf(fields: readonly ReplyValue[]): Move {
    const value = (name: string): string => String(fields[fields.indexOf(name) + 1]);
    const set = (name: string): ReplicaSet => this.#lab.sets[this.#setIds.indexOf(value(name))]!;
    return {
      ...{ id: value("id"), slots: value("slots"), state: value("state") },
      ...{ source: set("source"), destination: set("destination") },
    };
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      const moves = await this.list();
      await this.#lab.look();
      if (moves !== undefined && moves.length < MOVES_MIN) await this.#begin();
      await Bun.sleep(POLL_MS);
    }
  }

  /** Nothing comes of it while the coordinator is away; a later one will. */
  async #begin(): Promise<void> {
    const { random, target, sets } = this.#lab;
    const to = random.below(sets.length);
    const isElsewhere = (slot: number): boolean => !hasSlot(sets[to]!, slot * CLIENT_SLOTS);
    const tagged = random.shuffle(this.#tagSlots).filter(isElsewhere).slice(0, TAG_SLOTS);
    const others = Array.from({ length: OTHER_SLOTS }, () => random.below(SLOT_COUNT));
    const slots = new Set([...tagged, ...others.filter(isElsewhere)]);
    const words = [...slots].map(String);
    if (words.length === 0) return;
    const node = random.pick(target.nodes);
    await command(node, "CLUSTER", "MOVE", ...words, "TO", this.#setIds[to]!).catch(() => "");
  }
}

/** What `writer` says of moves away that it is busy with; none when it does not answer. */
export async function runningAt(writer: LabNode): Promise<RunningMove[]> {
  const info = await command(writer, "INFO", "dkv").catch(() => "");
  const lines = String(info).matchAll(/^cluster_move\d+:slots=([^,]+),to=\w+,phase=(\w+)/gm);
  return [...lines].map(([, slots, phase]) => ({ slots: shortOf(slots!), phase: phase! }));
}

/** As CLUSTER MOVES writes a single slot. */
function shortOf(slots: string): string {
  return slots.replace(/^(\d+)-\1$/, "$1");
}

export function isOpen({ state }: Move): boolean {
  return state === "MIGRATING" || state === "FREEZING";
}

function textOf({ id, slots, state }: Move): string {
  return `${id}: ${slots} ${state}`;
}

export function slotOfText(text: string): number {
  const bytes = Buffer.from(text);
  return slotOf(bytes, 0, bytes.length);
}
