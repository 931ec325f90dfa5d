/**
 * What the writer of a set that drains does beside moving slots: it sees to it that the drain comes to its end, whatever
 * has become of the moves that were made when it began.
 *
 *     slots, and moves ────► they go on (slot-mover.ts)
 *     slots, and no move ──► more are planned: some were aborted, or slots have come here since
 *     no slots ────────────► the set is retired, once no move names it (retired-set.ts)
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import { DocumentError, type ReplicaSetDocument } from "../coordination/documents.ts";
import type { MoveRequests } from "./move-requests.ts";
import { retireSet } from "./retired-set.ts";

const LOOK_MS = 1000;

export interface SetDrainOptions {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly setId: string;
  readonly requests: Pick<MoveRequests, "rebalance">;
  /** Of the set, as last read. */
  document(): ReplicaSetDocument | undefined;
  /** Whether no move names the set, as far as this node knows. */
  isResting(): boolean;
  onFatal(error: Error): void;
}

export class SetDrain {
  readonly #options: SetDrainOptions;
  #ticker: Timer | undefined = undefined;
  #isBusy = false;

  constructor(options: SetDrainOptions) {
    this.#options = options;
  }

  /** This node is the writer from now on. */
  serve(): void {
    this.stop();
    this.#ticker = this.#options.clock.every(LOOK_MS, () => this.#look());
  }

  stop(): void {
    this.#ticker?.cancel();
    this.#ticker = undefined;
  }

  #look(): void {
    const { document, logger, onFatal } = this.#options;
    const set = document();
    if (this.#isBusy || set?.isDraining !== true) return;
    this.#isBusy = true;
    this.#goOn(set)
      .catch((error: Error) => {
        if (error instanceof DocumentError) logger.error({ error }, "a drain cannot go on");
        else onFatal(error);
      })
      .finally(() => {
        this.#isBusy = false;
      });
  }

  async #goOn({ slots }: ReplicaSetDocument): Promise<void> {
    const { coordinator, setId, requests, logger, isResting } = this.#options;
    if (!isResting()) return;
    if (slots.length === 0) {
      await retireSet(coordinator, setId);
      return;
    }
    const result = await requests.rebalance(new Map(), false);
    if ("problem" in result) logger.warn({ problem: result.problem }, "a drain does not go on");
    else logger.info({ moves: result.moves.length }, "a drain goes on");
  }
}
