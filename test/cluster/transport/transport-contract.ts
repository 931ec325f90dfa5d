/** What every Transport does, whatever carries it: run by the tests of both. */
import { describe, expect, test } from "bun:test";
import type { PeerTarget, Purpose, Transport } from "../../../src/cluster/transport/transport.ts";
import type { RecordingHandlers } from "./transport-support.ts";

export interface ContractNode {
  readonly transport: Transport;
  readonly out: RecordingHandlers;
  readonly in: RecordingHandlers;
  readonly id: string;
}

export interface ContractContext {
  start(name: string): ContractNode;
  target(node: ContractNode, purposes: readonly Purpose[]): PeerTarget;
  /** Lets things happen until `isSo`. */
  until(what: string, isSo: () => boolean): Promise<void>;
  /** Ends the links between two nodes, as a network does; they may be made again. */
  cut(): Promise<void> | void;
  stop(): void;
}

const QUEUE_LOTS = 10_000;

export function testTransport(name: string, begin: () => ContractContext): void {
  /** Nodes a and b; a connects to b. */
  async function connected(context: ContractContext, purposes: readonly Purpose[] = ["control"]) {
    const [a, b] = [context.start("a"), context.start("b")];
    const peers = new Map([[b.id, context.target(b, purposes)]]);
    a.transport.setPeers(peers);
    await context.until("links", () => purposes.every((each) => a.transport.link(b.id, each)));
    return { a, b, peers };
  }

  async function withContext(body: (context: ContractContext) => Promise<void>): Promise<void> {
    const context = begin();
    try {
      await body(context);
    } finally {
      context.stop();
    }
  }

  describe(name, () => {
    test("delivers parts, channel and order, and answers on the same link", () =>
      withContext(async (context) => {
        const { a, b } = await connected(context);
        for (let i = 0; i < 100; i++) {
          const parts = [Buffer.from(`${i}`), new Uint8Array(0), Buffer.from("end")];
          expect(a.transport.send(b.id, "control", i, parts)).toBe(true);
        }
        await context.until("messages", () => b.in.messages.length === 100);
        expect(b.in.messages).toEqual(Array.from({ length: 100 }, (_, i) => `${i}:${i}||end`));
        expect(b.in.ups[0]).toMatchObject({ peer: a.id, purpose: "control", isOutgoing: false });
        expect(b.in.ups[0]!.send(1, [Buffer.from("reply")])).toBe(true);
        await context.until("reply", () => a.out.messages.length === 1);
        expect(a.out.messages).toEqual(["1:reply"]);
        expect(a.transport.send(a.id, "control", 0, [])).toBe(false);
        expect(b.transport.link(a.id, "control")).toBeUndefined();
      }));

    test("a purpose whose receiver holds everything delays no other", () =>
      withContext(async (context) => {
        const { a, b } = await connected(context, ["control", "bulk"]);
        const held: { release(): void }[] = [];
        b.in.onEach = (message) => {
          if (message.link.purpose === "bulk") held.push(message.hold());
          else b.in.messages.push(`${message.channel}`);
        };
        const bytes = new Uint8Array(100_000);
        let sent = 0;
        while (a.transport.send(b.id, "bulk", 0, [bytes]) && sent < QUEUE_LOTS) sent++;
        expect(sent).toBeLessThan(QUEUE_LOTS);
        expect(a.transport.link(b.id, "bulk")!.canSend).toBe(false);
        a.transport.send(b.id, "control", 9, []);
        await context.until("control", () => b.in.messages.length === 1);
        expect(held.length).toBeLessThan(sent + 1);
        // Until everything that was taken has come; only then the queue is known to have drained.
        await context.until("all of it", () => {
          for (const each of held.splice(0)) {
            each.release();
            sent--;
          }
          return sent === 0;
        });
        await context.until("drain", () => a.out.drains > 0);
        expect(a.transport.link(b.id, "bulk")!.canSend).toBe(true);
      }));

    test("a link that ends is made again with another generation; nothing crosses", () =>
      withContext(async (context) => {
        const { a, b } = await connected(context);
        const first = a.transport.link(b.id, "control")!;
        await context.cut();
        await context.until("down", () => !first.isUp);
        expect(first.send(0, [Buffer.from("lost")])).toBe(false);
        await context.until("a new link", () => a.transport.link(b.id, "control") !== undefined);
        const second = a.transport.link(b.id, "control")!;
        expect(second.generation).toBeGreaterThan(first.generation);
        expect(second.sentCount).toBe(0);
        second.send(0, [Buffer.from("found")]);
        await context.until("message", () => b.in.messages.length > 0);
        expect(b.in.messages).toEqual(["0:found"]);
        expect(a.out.events.map((event) => event.split(":")[0])).toEqual([
          "up control",
          "down control",
          "up control",
        ]);
      }));

    test("setPeers ends links to who is no peer any more, and both sides hear of it, later", () =>
      withContext(async (context) => {
        const { a, b } = await connected(context);
        a.transport.setPeers(new Map());
        expect(a.transport.link(b.id, "control")).toBeUndefined();
        expect(a.out.events).toEqual(["up control"]);
        await context.until("both", () => a.out.events.length === 2 && b.in.events.length === 2);
      }));

    test("a closed link is begun again", () =>
      withContext(async (context) => {
        const { a, b } = await connected(context);
        const { generation } = a.transport.link(b.id, "control")!;
        a.transport.link(b.id, "control")!.close("enough");
        expect(a.out.events).toEqual(["up control"]);
        await context.until("another", () => {
          const link = a.transport.link(b.id, "control");
          return link !== undefined && link.generation > generation;
        });
        expect(a.out.events).toEqual(["up control", "down control: enough", "up control"]);
      }));

    test("stop ends all links before it returns, and none is begun", () =>
      withContext(async (context) => {
        const { a, b, peers } = await connected(context);
        a.transport.stop();
        expect(a.out.events).toEqual(["up control", "down control: stopped"]);
        expect(a.transport.send(b.id, "control", 0, [])).toBe(false);
        a.transport.setPeers(peers);
        await context.until("b knows", () => b.in.events.length === 2);
        expect(a.transport.link(b.id, "control")).toBeUndefined();
      }));

    test("calls release exactly once for each message that was taken", () =>
      withContext(async (context) => {
        const { a, b } = await connected(context);
        let taken = 0;
        let released = 0;
        for (let i = 0; i < 400; i++) {
          const bytes = new Uint8Array(i % 2 === 0 ? 10 : 100_000);
          if (a.transport.send(b.id, "control", 0, [bytes], () => released++)) taken++;
        }
        expect(taken).toBeGreaterThan(0);
        a.transport.stop();
        await context.until("release", () => released >= taken);
        expect(released).toBe(taken);
      }));
  });
}
