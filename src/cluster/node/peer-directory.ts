/** Where the nodes of a set can be reached, as their documents say now: addresses change at a restart. */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import { DocumentError, nodeDocument } from "../coordination/documents.ts";
import { nodePath } from "../coordination/paths.ts";
import type { Address } from "../transport/transport.ts";

const RETRY_MS = 500;

export class PeerDirectory {
  readonly #coordinator: Coordinator;
  readonly #clock: Clock;
  readonly #onPeers: (peers: ReadonlyMap<string, Address>) => void;
  #nodeIds: readonly string[] = [];
  readonly #known = new Map<string, Address>();
  #retry: Timer | undefined = undefined;
  #isReading = false;
  #isChanged = false;
  #isStopped = false;

  constructor(
    coordinator: Coordinator,
    clock: Clock,
    onPeers: (peers: ReadonlyMap<string, Address>) => void,
  ) {
    this.#coordinator = coordinator;
    this.#clock = clock;
    this.#onPeers = onPeers;
  }

  /** From now on these nodes are of interest. */
  follow(nodeIds: readonly string[]): void {
    const isSame = nodeIds.length === this.#nodeIds.length;
    if (isSame && nodeIds.every((nodeId) => this.#nodeIds.includes(nodeId))) return;
    this.#nodeIds = nodeIds;
    this.#read();
  }

  stop(): void {
    this.#isStopped = true;
    this.#retry?.cancel();
  }

  readonly #read = (): void => {
    if (this.#isReading) this.#isChanged = true;
    else if (!this.#isStopped) void this.#readAll();
  };

  async #readAll(): Promise<void> {
    this.#isReading = true;
    let isComplete = true;
    do {
      this.#isChanged = false;
      isComplete = true;
      for (const nodeId of this.#nodeIds) {
        if (!(await this.#readOne(nodeId))) isComplete = false;
        if (this.#isStopped) return;
      }
    } while (this.#isChanged);
    this.#isReading = false;
    const peers = this.#nodeIds.filter((nodeId) => this.#known.has(nodeId));
    this.#onPeers(new Map(peers.map((nodeId) => [nodeId, this.#known.get(nodeId)!])));
    this.#retry?.cancel();
    if (!isComplete) this.#retry = this.#clock.after(RETRY_MS, this.#read);
  }

  /** False: to be tried again without being told. What is known of the node stays. */
  async #readOne(nodeId: string): Promise<boolean> {
    const path = nodePath(nodeId);
    const read = await this.#coordinator.read(path, { onChange: this.#read });
    if (read.kind === "unavailable") return false;
    if (read.kind === "missing") return true;
    try {
      const { host, peerPort } = nodeDocument.parse(path, read.data);
      this.#known.set(nodeId, { host, port: peerPort });
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error;
    }
    return true;
  }
}
