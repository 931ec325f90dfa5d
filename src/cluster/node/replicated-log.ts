/**
 * The log of a member, as replication drives it; store-log.ts implements it with a store.
 *
 *     append*, truncateAfter, commit, lead, follow, install     in the order of the calls, each one after the other is done
 *     readFrames, sync, retain                                  at any time
 *
 * What returns a promise waits: for an arena, for the disk, for a store that opens. A failure of the disk is final and
 * goes to whoever made the log, not here.
 */
import type { CheckpointStaging } from "../../store/checkpoint-staging.ts";
import type { EpochRun } from "../replication/epoch-table.ts";

/** A complete one. */
export type InstallableCheckpoint = Pick<CheckpointStaging, "install">;

/** Whole frames [first, last], verbatim. Borrowed: valid until the current event is over. */
export interface FrameBytes {
  readonly bytes: Uint8Array;
  readonly first: number;
  readonly last: number;
}

/** What a log says, also from within calls of it. */
export interface LogEvents {
  /** This node's own frames up to `index` are written: others may have them. */
  onWritten(index: number): void;
  /** The log is as durable as configured up to `index`. */
  onDurable(index: number): void;
  /** Frames before `first` are deleted. */
  onDeleted(first: number): void;
}

/** Where a log stands when its member starts. */
export interface LogStanding {
  readonly runs: readonly EpochRun[];
  readonly last: number;
  /** The highest index that is known to be committed. */
  readonly commit: number;
  readonly firstRetained: number;
}

export interface ReplicatedLog {
  readonly standing: LogStanding;
  /** Who is told; before the first call of anything else. */
  bind(events: LogEvents): void;

  /** Puts frames of another node behind the end; borrowed. REQUIRES: they follow it, as their headers say. */
  appendFrames(frames: Uint8Array): void | Promise<void>;
  /** Begins an epoch of this node with an empty frame. */
  appendEpochStart(epoch: number): void | Promise<void>;
  /** Drops all frames behind `last`; done when that is durable. */
  truncateAfter(last: number): Promise<void>;
  /** Frames up to `index` are committed: readers see them, tables may have them, replies leave. */
  commit(index: number): void;
  /** From now on this node makes the frames. REQUIRES: its EPOCH_START is the newest frame. */
  lead(): void;
  /**
   * This node makes no frames any more: what readers see is rebuilt up to `commit`, and frames behind `last`, which
   * nobody was told of, go.
   */
  follow(commit: number, last: number): Promise<void>;
  /** The checkpoint takes the place of all that was here, durably; where the log stands then, all of it committed. */
  install(checkpoint: InstallableCheckpoint): Promise<LogStanding>;
  /** Closes and writes the open frame. */
  closeFrame(): void;

  sync(): void;
  /**
   * Frames from `first` on, up to `last`, as many as fit `bytesMax` but at least one. Undefined: the log does not have
   * them, or no longer.
   */
  readFrames(
    first: number,
    last: number,
    bytesMax: number,
  ): FrameBytes | undefined | Promise<FrameBytes | undefined>;
  /** Frames before `first` are durable on all members. */
  retain(first: number): void;
}
