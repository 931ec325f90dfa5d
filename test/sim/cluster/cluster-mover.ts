/**
 * An operator of a simulated cluster: has slots moved that clients use, several at once and also ones that are on the
 * move, and now and then calls moves off; drains sets, now and then changes its mind, and empties nodes that are left.
 */
import { slotOf } from "../../../src/base/slot.ts";
import { slotMoveDocument } from "../../../src/cluster/coordination/documents.ts";
import { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import type { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import { childrenOf } from "../../../src/cluster/coordination/memory-tree.ts";
import { MOVES_PATH, movePath } from "../../../src/cluster/coordination/paths.ts";
import { MoveRequests } from "../../../src/cluster/node/move-requests.ts";
import type { Life } from "../process.ts";
import type { ClusterNodes } from "./cluster-nodes.ts";

const SESSION_MS = 4000;
const ABORT_SHARE = 0.1;
const CHANGE_OF_MIND_SHARE = 0.3;
const EMPTIED_SHARE = 0.5;
const SLOTS_MAX = 4;
const ID_BYTES = 20;

export interface MoverOptions {
  readonly ensemble: MemoryEnsemble;
  readonly nodes: ClusterNodes;
  /** Between moves, and between drains, on average; undefined: there are none. */
  readonly moveMs: number | undefined;
  readonly drainMs: number | undefined;
  readonly slotsPerMove: number;
  /** That clients have used. */
  keys(): Iterable<string>;
  goesOn(): boolean;
}

export class ClusterMover {
  readonly #life: Life;
  readonly #options: MoverOptions;
  readonly #requests: MoveRequests;

  constructor(life: Life, options: MoverOptions) {
    this.#life = life;
    this.#options = options;
    const { random } = life;
    this.#requests = new MoveRequests({
      coordinator: new MemoryCoordinator(options.ensemble, {
        clock: life.clock,
        sessionTimeoutMs: SESSION_MS,
        latencyMs: () => random.exponential(1),
      }),
      slotsPerMove: options.slotsPerMove,
      newId: () => Buffer.from(random.bytes(ID_BYTES)).toString("hex"),
    });
  }

  async run(): Promise<void> {
    const { moveMs, drainMs } = this.#options;
    await Promise.all([
      this.#repeat(moveMs, () => this.#moveOrAbort()),
      this.#repeat(drainMs, () => this.#drain()),
    ]);
  }

  async #repeat(meanMs: number | undefined, act: () => Promise<unknown>): Promise<void> {
    const { random, clock } = this.#life;
    if (meanMs === undefined) return;
    for (;;) {
      await new Promise<void>((resolve) => clock.after(random.exponential(meanMs), resolve));
      if (!this.#options.goesOn()) return;
      await act();
    }
  }

  async #moveOrAbort(): Promise<void> {
    if (this.#life.random.chance(ABORT_SHARE)) await this.#requests.abort(undefined);
    else await this.#move();
  }

  async #drain(): Promise<void> {
    const { random } = this.#life;
    const { nodes } = this.#options;
    const { sets } = nodes;
    if (random.chance(EMPTIED_SHARE)) nodes.emptyRetired();
    if (sets.length === 0) return;
    const draining = sets.filter(({ isDraining }) => isDraining);
    if (draining.length > 0 && random.chance(CHANGE_OF_MIND_SHARE))
      await this.#requests.rebalance(new Map([[random.pick(draining).id, 1]]), false);
    else await this.#requests.drain(random.pick(sets).id, false);
  }

  async #move(): Promise<void> {
    const { random } = this.#life;
    const { keys, nodes } = this.#options;
    const used = [...keys()].map((key) => slotOf(Buffer.from(key), 0, Buffer.byteLength(key)));
    const { sets } = nodes;
    if (used.length === 0 || sets.length < 2) return;
    const count = random.between(1, SLOTS_MAX);
    const slots = Array.from({ length: count }, () => random.pick(used));
    const ranges = [...new Set(slots)].map((slot) => ({ start: slot, end: slot }));
    await this.#requests.move(ranges, random.pick(sets).id, false);
  }
}

/** States of the moves that have not ended, as they are in truth. */
export function openMoves({ view }: MemoryEnsemble): string[] {
  if (!view.has(MOVES_PATH)) return [];
  return childrenOf(view, MOVES_PATH).map((id) => {
    const path = movePath(id);
    const { slots, source, destination, state } = slotMoveDocument.parse(
      path,
      view.get(path)!.data,
    );
    return `${id.slice(0, 6)} ${slots[0]!.start} ${state} ${source.slice(0, 6)} to ${destination.slice(0, 6)}`;
  });
}
