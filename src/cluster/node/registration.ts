/**
 * A node's own documents: where it can be reached (durable), and that it is there (ephemeral).
 *
 *     connected, a new session ──► write /nodes/<id> if it says something else ──► create /presence/<id>
 *               ▲                                                                       │ there already: of a session
 *               └──────────────── the session is over ◄─────────────────────────────────┘ that ends soon; again then
 *
 * Presence tells others whom to count on when sets are formed, and whose data is in the directory: it says so before the
 * directory holds any. Nobody's authority rests on it.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Coordinator, Subscription } from "../coordination/coordinator.ts";
import {
  DocumentError,
  type NodeDocument,
  nodeDocument,
  presenceDocument,
} from "../coordination/documents.ts";
import { nodePath, presencePath } from "../coordination/paths.ts";

const RETRY_MS = 500;

export interface RegistrationOptions {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly node: NodeDocument;
  /** Whose data the directory holds when the process starts; empty: none's. */
  readonly setId: string;
  /** 32 hexadecimal digits, new ones with each call. */
  newNonce(): string;
}

export class Registration {
  readonly #options: RegistrationOptions;
  readonly #subscription: Subscription;
  #retry: Timer | undefined = undefined;
  #isRunning = false;
  /** Number of the session that the presence is of. */
  #presentIn = 0;
  /** Of the newest session in which it was tried: an outcome that stayed unknown is found out by it. */
  #nonce = "";
  #nonceOf = 0;
  #isStopped = false;
  #setId: string;
  /** As the presence says. */
  #toldSetId = "";
  readonly #onTold: (() => void)[] = [];

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#setId = options.setId;
    this.#subscription = options.coordinator.onSession((event) => {
      if (event.state === "connected") this.#run();
    });
    this.#run();
  }

  /** Whether both documents are there, as far as this node knows. */
  get isRegistered(): boolean {
    const { state, number } = this.#options.coordinator.session;
    return this.#presentIn === number && (state === "connected" || state === "suspended");
  }

  /** The directory is to hold data of this set: done when others are told so. It never is another one's after that. */
  enter(setId: string): Promise<void> {
    if (this.#setId === setId) return Promise.resolve();
    this.#setId = setId;
    return new Promise((resolve) => {
      this.#onTold.push(resolve);
      this.#run();
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#subscription.cancel();
    this.#retry?.cancel();
  }

  #run(): void {
    const { state } = this.#options.coordinator.session;
    const isDone = this.isRegistered && this.#toldSetId === this.#setId;
    if (this.#isRunning || this.#isStopped || state !== "connected" || isDone) return;
    this.#isRunning = true;
    this.#retry?.cancel();
    void this.#register().then((isDone) => {
      this.#isRunning = false;
      if (this.#isStopped) return;
      // Once more also when it is done: the session may have been followed by another meanwhile.
      if (isDone) this.#run();
      else this.#retry = this.#options.clock.after(RETRY_MS, () => this.#run());
    });
  }

  async #register(): Promise<boolean> {
    const { coordinator, node, newNonce } = this.#options;
    const { number } = coordinator.session;
    if (!(await this.#describe())) return false;
    if (this.#nonceOf !== number) {
      this.#nonceOf = number;
      this.#nonce = newNonce();
    }
    const setId = this.#setId;
    const presence = { format: 1, nodeId: node.id, incarnation: node.incarnation, setId } as const;
    const data = presenceDocument.encode({ ...presence, sessionNonce: this.#nonce });
    const path = presencePath(node.id);
    const outcome = await coordinator.create(path, data, "ephemeral");
    if (outcome.kind !== "ok" && !(await this.#rewrite(path, data))) return false;
    this.#presentIn = number;
    this.#toldSetId = setId;
    if (setId === this.#setId) for (const resolve of this.#onTold.splice(0)) resolve();
    return true;
  }

  /** Makes the document that this session has made say so. Another session's goes when that has ended. */
  async #rewrite(path: string, data: Uint8Array): Promise<boolean> {
    const { coordinator } = this.#options;
    const read = await coordinator.read(path, { fresh: true });
    if (read.kind !== "ok") return false;
    if (Buffer.from(read.data).equals(data)) return true;
    if (this.#nonceIn(path, read.data) !== this.#nonce) return false;
    return (await coordinator.write(path, data, read.version)).kind === "ok";
  }

  #nonceIn(path: string, data: Uint8Array): string | undefined {
    try {
      return presenceDocument.parse(path, data).sessionNonce;
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error;
      return undefined;
    }
  }

  /** Makes the node document say what is so. */
  async #describe(): Promise<boolean> {
    const { coordinator, node } = this.#options;
    const path = nodePath(node.id);
    const data = nodeDocument.encode(node);
    const read = await coordinator.read(path, { fresh: true });
    if (read.kind === "unavailable") return false;
    if (read.kind === "missing")
      return (await coordinator.create(path, data, "durable")).kind === "ok";
    if (Buffer.from(read.data).equals(data)) return true;
    if (!this.#isNewer(path, read.data)) return false;
    return (await coordinator.write(path, data, read.version)).kind === "ok";
  }

  /** Whether this node may replace what is known of it. */
  #isNewer(path: string, data: Uint8Array): boolean {
    const { logger, node } = this.#options;
    try {
      const known = nodeDocument.parse(path, data);
      if (known.incarnation <= node.incarnation) return true;
      const { incarnation } = known;
      logger.error(
        { incarnation },
        "an older copy of this node's directory: it does not take part",
      );
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error;
      logger.error({ error }, "this node's own document is not understood");
    }
    return false;
  }
}
