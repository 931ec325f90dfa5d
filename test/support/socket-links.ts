/** Links of a static cluster over the peer port: real transports on loopback, one per member. */
import { SystemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/logger.ts";
import { SocketTransport } from "../../src/cluster/transport/socket-transport.ts";
import type { PeerTarget } from "../../src/cluster/transport/transport.ts";
import { type Forwarder, REFUSED, UNKNOWN } from "../../src/server/forwarder.ts";
import { PeerForwarding, type PeerForwardingOptions } from "../../src/server/peer-forwarding.ts";
import type { Server } from "../../src/server/server.ts";
import type { ClusterLinks, LinkMode } from "./static-cluster.ts";

interface Node {
  readonly transport: SocketTransport;
  readonly forwarding: PeerForwarding;
}

type Limits = Pick<PeerForwardingOptions, "timeoutMs" | "unitBytesMax" | "messageBytesMax">;

export class SocketLinks implements ClusterLinks {
  readonly modes = new Map<string, LinkMode>();
  readonly frames: { readonly to: string; readonly units: number }[] = [];
  readonly #nodes = new Map<string, Node>();
  readonly #clock = new SystemClock();
  readonly #limits: Limits;

  constructor(limits: Limits = {}) {
    this.#limits = limits;
  }

  add(id: string, server: Server): void {
    this.#nodes.get(id)!.forwarding.serve(() => server.peerLink());
  }

  transportOf(id: string): SocketTransport {
    return this.#nodes.get(id)!.transport;
  }

  async ready(): Promise<void> {
    const targets = new Map<string, PeerTarget>();
    for (const [id, { transport }] of this.#nodes)
      targets.set(id, { host: "127.0.0.1", port: transport.port, purposes: ["forward"] });
    for (const { transport } of this.#nodes.values()) transport.setPeers(targets);
    const ids = [...this.#nodes.keys()];
    const isUp = () =>
      ids.every((from) =>
        ids.every((to) => from === to || this.transportOf(from).link(to, "forward") !== undefined),
      );
    while (!isUp()) await Bun.sleep(1);
  }

  breakLinks(to: string): void {
    for (const { transport } of this.#nodes.values())
      transport.link(to, "forward")?.close("the test breaks it");
  }

  forwarderOf(from: string): Forwarder {
    const { forwarding } = this.#start(from);
    return {
      forward: (node, units, signal) => {
        this.frames.push({ to: node.id, units: units.length });
        const mode = this.modes.get(node.id) ?? "carry";
        if (mode === "carry") {
          forwarding.forward(node, units, signal);
        } else if (mode === "lose-reply") {
          const mute = units.map((unit): typeof unit => ({
            ...{ client: unit.client, slot: unit.slot, epoch: unit.epoch, kind: unit.kind },
            ...{ isWatched: unit.isWatched, protocol: unit.protocol },
            ...{ bytes: unit.bytes, requests: unit.requests },
            settle: () => unit.settle(UNKNOWN),
          }));
          forwarding.forward(node, mute, signal);
        } else {
          const outcome = mode === "refuse" ? REFUSED : UNKNOWN;
          setImmediate(() => units.forEach((unit) => void unit.settle(outcome)));
        }
      },
    };
  }

  stop(id: string): void {
    const { transport, forwarding } = this.#nodes.get(id)!;
    forwarding.stop();
    transport.stop();
  }

  #start(id: string): Node {
    const clock = this.#clock;
    const transport = new SocketTransport({
      identity: { clusterId: "c".repeat(40), nodeId: id, incarnation: 1 },
      secret: Buffer.from("a secret of the tests"),
      address: { host: "127.0.0.1", port: 0 },
      ...{ clock, logger: createLogger({ level: "nothing", file: "" }) },
      random: {
        bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
        fraction: () => Math.random(),
      },
      onFatal: (error) => {
        throw error;
      },
    });
    const forwarding = new PeerForwarding({ transport, clock, ...this.#limits });
    transport.listen();
    const node = { transport, forwarding };
    this.#nodes.set(id, node);
    return node;
  }
}
