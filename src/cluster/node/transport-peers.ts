/**
 * The messages of a replica set over the peer port: a message is its bytes (message-codec.ts), and its frames a part
 * behind them.
 *
 *     control       everything without frames: nothing that is long delays a heartbeat or an acknowledgement
 *     replication   frames
 *
 * A link for control that closes says that the peer may be dead, long before its silence does.
 */
import type { Logger } from "../../base/logger.ts";
import type { Message } from "../replication/message.ts";
import { decodeMessage, encodeMessage } from "../replication/message-codec.ts";
import type {
  Address,
  IncomingMessage,
  LinkHandlers,
  PeerTarget,
  Purpose,
  Transport,
} from "../transport/transport.ts";
import type { PeerPort, PeerReceiver } from "./cluster-node.ts";

const PURPOSES: readonly Purpose[] = ["control", "replication"];
const CHANNEL = 0;

export class TransportPeers implements PeerPort {
  readonly #transport: Transport;
  readonly #logger: Logger;

  constructor(transport: Transport, logger: Logger) {
    this.#transport = transport;
    this.#logger = logger;
  }

  start(receiver: PeerReceiver): void {
    for (const purpose of PURPOSES) {
      const isControl = purpose === "control";
      const handlers: LinkHandlers = {
        onMessage: (message) => this.#onMessage(message, receiver),
        onUp: ({ isOutgoing, peer }) => {
          if (isControl && isOutgoing) receiver.onLink(peer, true);
        },
        onDown: ({ isOutgoing, peer }) => {
          if (isControl && isOutgoing) receiver.onLink(peer, false);
        },
        onDrain: () => undefined,
      };
      this.#transport.handle(purpose, handlers);
    }
  }

  setPeers(addresses: ReadonlyMap<string, Address>): void {
    const targets = new Map<string, PeerTarget>();
    for (const [nodeId, { host, port }] of addresses)
      targets.set(nodeId, { host, port, purposes: PURPOSES });
    this.#transport.setPeers(targets);
  }

  send(to: string, message: Message, frames: Uint8Array | undefined): void {
    const head = encodeMessage(message, frames?.length ?? 0);
    // What does not get through comes again: the core repeats itself. The arena may be another segment's by then.
    if (frames === undefined) this.#transport.send(to, "control", CHANNEL, [head]);
    else this.#transport.send(to, "replication", CHANNEL, [head, frames.slice()]);
  }

  #onMessage({ link, parts }: IncomingMessage, receiver: PeerReceiver): void {
    const [head, frames] = parts;
    const message = head && decodeMessage(head);
    if (message === undefined || parts.length > 2) {
      this.#logger.warn({ peer: link.peer }, "a message that cannot be read");
      link.close("a message that cannot be read");
      return;
    }
    receiver.receive(link.peer, message, frames);
  }
}
