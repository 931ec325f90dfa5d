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
  Link,
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
  /** Before there is one, messages are lost. */
  #receiver: PeerReceiver | undefined = undefined;

  /** REQUIRES: a transport that has no links yet. */
  constructor(transport: Transport, logger: Logger) {
    this.#transport = transport;
    this.#logger = logger;
    for (const purpose of PURPOSES) transport.handle(purpose, this.#handlersOf(purpose));
  }

  start(receiver: PeerReceiver): void {
    this.#receiver = receiver;
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

  #handlersOf(purpose: Purpose): LinkHandlers {
    const onLink = ({ isOutgoing, peer }: Link, isUp: boolean): void => {
      if (purpose === "control" && isOutgoing) this.#receiver?.onLink(peer, isUp);
    };
    return {
      onMessage: (message) => this.#onMessage(message),
      onUp: (link) => onLink(link, true),
      onDown: (link) => onLink(link, false),
      onDrain: () => undefined,
    };
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
