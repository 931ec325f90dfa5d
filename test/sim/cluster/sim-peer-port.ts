/**
 * The peer port in the simulator: single messages that may be lost, doubled or overtake each other, as the bytes that
 * production sends. The addresses' hosts are the names of machines.
 */
import type { PeerPort, PeerReceiver } from "../../../src/cluster/node/cluster-node.ts";
import type { Message } from "../../../src/cluster/replication/message.ts";
import { decodeMessage, encodeMessage } from "../../../src/cluster/replication/message-codec.ts";
import type { Address } from "../../../src/cluster/transport/transport.ts";
import type { Life } from "../process.ts";
import type { PeerMessage } from "./cluster-protocol.ts";

export class SimPeerPort implements PeerPort {
  readonly #life: Life;
  readonly #nodeId: string;
  #addresses: ReadonlyMap<string, Address> = new Map();

  constructor(life: Life, nodeId: string) {
    this.#life = life;
    this.#nodeId = nodeId;
  }

  start(receiver: PeerReceiver): void {
    this.#life.network.onPost(this.#life, (_, parcel) => {
      const { from, to, message: bytes, frames, kind } = parcel as PeerMessage;
      if (to !== this.#nodeId) return;
      if (kind === "move") {
        receiver.receiveMove(from, bytes, frames);
        return;
      }
      if (kind === "bulk") {
        receiver.receiveBulk(from, frames === undefined ? [bytes] : [bytes, frames]);
        return;
      }
      const message = decodeMessage(bytes);
      if (message === undefined) throw new Error("a message that cannot be read");
      receiver.receive(from, message, frames);
    });
  }

  setPeers(addresses: ReadonlyMap<string, Address>): void {
    this.#addresses = addresses;
  }

  send(to: string, message: Message, frames: Uint8Array | undefined): void {
    this.#post(to, [encodeMessage(message, frames?.length ?? 0), frames], "member");
  }

  sendBulk(to: string, [head, bytes]: readonly Uint8Array[], release: () => void): boolean {
    if (this.#addresses.has(to)) this.#post(to, [head!.slice(), bytes], "bulk");
    release();
    return true;
  }

  sendMove(to: string, head: Uint8Array, records: Uint8Array | undefined): void {
    this.#post(to, [head, records], "move");
  }

  #post(to: string, parts: [Uint8Array, Uint8Array | undefined], kind: PeerMessage["kind"]): void {
    const address = this.#addresses.get(to);
    if (address === undefined) return;
    const [message, sent] = parts;
    const parcel: PeerMessage = { from: this.#nodeId, to, message, frames: sent?.slice(), kind };
    this.#life.network.post(this.#life, address.host, parcel);
  }
}
