/** Both sides of checkpoints at one node, and the messages between them and the peer port. */
import type { Clock } from "../../base/clock.ts";
import type { FileSystem } from "../../base/file-system.ts";
import type { Logger } from "../../base/logger.ts";
import type { CheckpointStatus } from "../replication-status.ts";
import { CHUNK_BYTES, decodeCheckpoint } from "./checkpoint-codec.ts";
import { CheckpointReceiver } from "./checkpoint-receiver.ts";
import { type CheckpointLog, CheckpointSender } from "./checkpoint-sender.ts";
import type { SetMember } from "./set-member.ts";

const ID_BYTES = 6;

/** How much of it at a time. */
export interface CheckpointPace {
  /** To another node; 0: as fast as it goes. May change at any time. */
  bytesPerSecond(): number;
  /** Asked for at once. */
  readonly chunkBytes?: number;
}

export interface BulkPort {
  /**
   * False: not now. The parts must not change until `release` was called, which happens once if it is true. Messages may
   * be lost.
   */
  sendBulk(to: string, parts: readonly Uint8Array[], release: () => void): boolean;
}

export interface CheckpointsOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly log: CheckpointLog;
  readonly peers: BulkPort;
  readonly pace: CheckpointPace;
  /** Disk space that must be left. */
  spareDiskBytes(): number;
  /** Undefined: not yet. */
  member(): SetMember | undefined;
  random(bytes: number): Uint8Array;
  onFatal(error: Error): void;
}

export class Checkpoints {
  readonly #logger: Logger;
  readonly #sender: CheckpointSender;
  readonly #receiver: CheckpointReceiver;

  constructor(options: CheckpointsOptions) {
    const { fileSystem, directory, clock, logger, log, peers, pace, random } = options;
    this.#logger = logger;
    const common = { clock, logger, member: options.member, onFatal: options.onFatal };
    this.#sender = new CheckpointSender({
      ...{ ...common, log },
      send: (to, parts, release) => peers.sendBulk(to, parts, release),
      bytesPerSecond: () => pace.bytesPerSecond(),
      newId: () => Buffer.from(random(ID_BYTES)).readUIntLE(0, ID_BYTES),
    });
    this.#receiver = new CheckpointReceiver({
      ...{ ...common, fileSystem, directory, chunkBytes: pace.chunkBytes ?? CHUNK_BYTES },
      spareDiskBytes: () => options.spareDiskBytes(),
      send: (to, parts) => void peers.sendBulk(to, parts, () => undefined),
    });
  }

  get status(): CheckpointStatus {
    return { sending: this.#sender.status, receiving: this.#receiver.status };
  }

  /** `node` needs one; repeated. */
  offer(node: string): void {
    this.#sender.offer(node);
  }

  /** Borrows the parts until it returns. */
  receive(from: string, parts: readonly Uint8Array[]): void {
    const message = decodeCheckpoint(parts);
    if (message === undefined) {
      this.#logger.warn({ peer: from }, "a message about checkpoints that cannot be read");
      return;
    }
    if (message.type === "fetch" || message.type === "end") this.#sender.receive(from, message);
    if (message.type !== "fetch") this.#receiver.receive(from, message);
  }

  /** Done when nothing of the store is in use. */
  leaveStore(): Promise<void> {
    return this.#sender.stop();
  }

  /** Before the member ends: no other node gets one from here. */
  closeSender(): Promise<void> {
    return this.#sender.close();
  }

  /** Behind that. */
  close(): Promise<void> {
    return this.#receiver.close();
  }
}
