/**
 * The messages of a replica set over the peer port: a message is its bytes (message-codec.ts), and its frames a part
 * behind them.
 *
 *     control       everything without frames: nothing that is long delays a heartbeat or an acknowledgement
 *     replication   frames
 *     bulk          checkpoints (checkpoint-codec.ts); on a channel of their own, slots on the move between sets, of which
 *                   all nodes are peers (move-message.ts)
 *
 * A link for control that closes says that the peer may be dead, long before its silence does.
 */
import type { Logger } from "../../base/logger.ts";
import type { Message } from "../replication/message.ts";
import { decodeMessage, encodeMessage } from "../replication/message-codec.ts";
import type {
  IncomingMessage,
  Link,
  LinkHandlers,
  PeerTarget,
  Purpose,
  Transport,
} from "../transport/transport.ts";
import type { PeerAddress, PeerPort, PeerReceiver } from "./cluster-node.ts";

const PURPOSES: readonly Purpose[] = ["control", "replication", "bulk"];
const CHANNEL = 0;
const MOVES_CHANNEL = 1;

/** Purposes that others handle on the same transport, and to whom there are links for them. */
export interface OtherPurposes {
  readonly ofSet: readonly Purpose[];
  readonly ofAll: readonly Purpose[];
}

export class TransportPeers implements PeerPort {
  readonly #transport: Transport;
  readonly #logger: Logger;
  readonly #ofSet: readonly Purpose[];
  readonly #ofAll: readonly Purpose[];
  /** Before there is one, messages are lost. */
  #receiver: PeerReceiver | undefined = undefined;

  /** REQUIRES: a transport that has no links yet. */
  constructor(transport: Transport, logger: Logger, others: OtherPurposes) {
    this.#transport = transport;
    this.#logger = logger;
    this.#ofSet = [...PURPOSES, ...others.ofSet, ...others.ofAll];
    this.#ofAll = ["bulk", ...others.ofAll];
    for (const purpose of PURPOSES) transport.handle(purpose, this.#handlersOf(purpose));
  }

  start(receiver: PeerReceiver): void {
    this.#receiver = receiver;
  }

  setPeers(peers: ReadonlyMap<string, PeerAddress>): void {
    const targets = new Map<string, PeerTarget>();
    for (const [nodeId, { host, port, isOfSet }] of peers) {
      const purposes = isOfSet ? this.#ofSet : this.#ofAll;
      if (purposes.length > 0) targets.set(nodeId, { host, port, purposes });
    }
    this.#transport.setPeers(targets);
  }

  send(to: string, message: Message, frames: Uint8Array | undefined): void {
    const head = encodeMessage(message, frames?.length ?? 0);
    // What does not get through comes again: the core repeats itself. The arena may be another segment's by then.
    if (frames === undefined) this.#transport.send(to, "control", CHANNEL, [head]);
    else this.#transport.send(to, "replication", CHANNEL, [head, frames.slice()]);
  }

  sendBulk(to: string, parts: readonly Uint8Array[], release: () => void): boolean {
    return this.#transport.send(to, "bulk", CHANNEL, parts, release);
  }

  sendMove(to: string, head: Uint8Array, records: Uint8Array | undefined): void {
    const parts = records === undefined ? [head] : [head, records];
    this.#transport.send(to, "bulk", MOVES_CHANNEL, parts);
  }

  #handlersOf(purpose: Purpose): LinkHandlers {
    const onLink = ({ isOutgoing, peer }: Link, isUp: boolean): void => {
      if (purpose === "control" && isOutgoing) this.#receiver?.onLink(peer, isUp);
    };
    return {
      onMessage: (message) => {
        if (purpose === "bulk") this.#onBulk(message);
        else this.#onMessage(message);
      },
      onUp: (link) => onLink(link, true),
      onDown: (link) => onLink(link, false),
      onDrain: () => undefined,
    };
  }

  #onBulk({ link, channel, parts }: IncomingMessage): void {
    const [head, records] = parts;
    if (channel !== MOVES_CHANNEL) this.#receiver?.receiveBulk(link.peer, parts);
    else if (head !== undefined) this.#receiver?.receiveMove(link.peer, head, records);
  }

  #onMessage({ link, parts }: IncomingMessage): void {
    const [head, frames] = parts;
    const message = head && decodeMessage(head);
    if (message === undefined || parts.length > 2) {
      this.#logger.warn({ peer: link.peer }, "a message that cannot be read");
      link.close("a message that cannot be read");
      return;
    }
    this.#receiver?.receive(link.peer, message, frames);
  }
}
