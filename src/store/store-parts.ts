/** What a store is made of (open-store.ts). */
import type { HashSeed } from "../base/order-hash.ts";
import type { Lsm } from "../lsm/lsm.ts";
import type { Memtable } from "../lsm/memtable.ts";
import type { Log } from "../wal/log.ts";
import type { CommitPipeline } from "./commit-pipeline.ts";
import type { KeyCounts } from "./key-counts.ts";
import type { StoreOptions } from "./open-store.ts";
import type { ReplicaLog } from "./replica-log.ts";
import type { Segments } from "./segments.ts";
import type { SlotMoves } from "./slot-moves.ts";

export interface StoreParts {
  readonly log: Log;
  readonly lsm: Lsm;
  readonly memtable: Memtable;
  readonly pipeline: CommitPipeline;
  readonly counts: KeyCounts;
  readonly segments: Segments;
  readonly slotMoves: SlotMoves;
  readonly seed: HashSeed;
  readonly options: StoreOptions;
  /** Where the log of a store comes from that opens as a replica. */
  readonly replica: ReplicaLog | undefined;
}
