import { describe, expect, test } from "bun:test";
import {
  encodeCredit,
  encodeFrame,
  FRAME_CREDIT,
  FRAME_HELLO,
  FRAME_MESSAGE,
} from "../../../src/cluster/transport/frame.ts";
import {
  AcceptorHandshake,
  DialerHandshake,
  type PeerIdentity,
} from "../../../src/cluster/transport/handshake.ts";
import { PeerConnection, type Wire } from "../../../src/cluster/transport/peer-connection.ts";
import { TRANSPORT_LIMITS } from "../../../src/cluster/transport/transport-limits.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { CLUSTER_ID, nodeId, RecordingHandlers, SECRET } from "./transport-support.ts";

const LIMITS = { ...TRANSPORT_LIMITS, windowBytes: 10_000, queueBytes: 10_000 };

/** Two ends joined by wires; bytes arrive when pump() is called, in chunks of at most `chunkBytes`. */
class Pair {
  readonly clock = new SimulatedClock(0);
  readonly handlers = [new RecordingHandlers(), new RecordingHandlers()] as const;
  readonly closed: string[][] = [[], []];
  readonly ends: readonly [PeerConnection, PeerConnection];
  isSilent = false;
  chunkBytes = 4000;
  readonly #onWay: Buffer[][] = [[], []];
  #generation = 0;

  constructor() {
    const options = (name: string) => ({
      identity: { clusterId: CLUSTER_ID, nodeId: nodeId(name), incarnation: 1 },
      secret: SECRET,
      windowBytes: LIMITS.windowBytes,
      nonce: new Uint8Array(32).fill(name.charCodeAt(0)),
    });
    const dialer = new DialerHandshake(options("a"), nodeId("b"), "control");
    const acceptor = new AcceptorHandshake(options("b"));
    this.ends = [
      new PeerConnection(this.#host(0), this.#wire(1), dialer),
      new PeerConnection(this.#host(1), this.#wire(0), acceptor),
    ];
  }

  static up(): Pair {
    const pair = new Pair();
    pair.ends[0].begin();
    pair.pump();
    return pair;
  }

  #host(side: 0 | 1) {
    return {
      clock: this.clock,
      limits: LIMITS,
      admit: (_connection: PeerConnection, _peer: PeerIdentity) => ++this.#generation,
      handlersOf: () => this.handlers[side],
      flushSoon: (connection: PeerConnection) => this.clock.immediate(() => connection.flush()),
      onClosed: (_connection: PeerConnection, reason: string) => this.closed[side]!.push(reason),
    };
  }

  #wire(to: 0 | 1): Wire {
    const close = () => this.clock.immediate(() => this.ends[to].onWireClosed());
    return {
      remote: "pair",
      write: (bytes, offset, length) => {
        const copy = Buffer.from(bytes.slice(offset, offset + length));
        for (let at = 0; at < length; at += this.chunkBytes)
          this.#onWay[to]!.push(copy.subarray(at, at + this.chunkBytes));
        return length;
      },
      end: close,
      terminate: close,
    };
  }

  /** Until nothing moves. */
  pump(): void {
    for (let isMoving = true; isMoving; ) {
      isMoving = this.clock.runImmediates();
      if (this.isSilent) continue;
      for (const side of [0, 1] as const) {
        const chunk = this.#onWay[side]!.shift();
        if (chunk === undefined) continue;
        this.ends[side].onData(chunk);
        isMoving = true;
      }
    }
  }

  advance(ms: number, stepMs = 250): void {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.clock.advance(stepMs);
      for (const end of this.ends) end.tick(this.clock.monotonicMs());
      this.pump();
    }
  }

  /** As if the other end had written `bytes`. */
  inject(side: 0 | 1, bytes: Buffer): void {
    this.ends[side].onData(bytes);
    this.pump();
  }
}

describe("PeerConnection", () => {
  test("becomes a link whatever the chunks", () => {
    for (const chunkBytes of [1, 7, 100]) {
      const pair = new Pair();
      pair.chunkBytes = chunkBytes;
      pair.ends[0].begin();
      pair.pump();
      expect(pair.ends.map((end) => end.isUp)).toEqual([true, true]);
      expect(pair.ends.map((end) => end.peer)).toEqual([nodeId("b"), nodeId("a")]);
    }
  });

  test("lives by pings while nobody has anything to say", () => {
    const pair = Pair.up();
    pair.advance(60_000);
    expect(pair.ends.map((end) => end.isUp)).toEqual([true, true]);
  });

  test("ends when nothing is heard, not when the process slept", () => {
    const pair = Pair.up();
    pair.isSilent = true;
    pair.clock.advance(60_000);
    const nowMs = pair.clock.monotonicMs();
    for (const end of pair.ends) {
      end.forgiveSilence(60_000);
      end.tick(nowMs);
    }
    expect(pair.ends.map((end) => end.isUp)).toEqual([true, true]);
    pair.advance(LIMITS.silenceMs);
    expect(pair.closed).toEqual([["silent"], ["silent"]]);
  });

  test("a handshake that does not go on ends", () => {
    const pair = new Pair();
    pair.isSilent = true;
    pair.ends[0].begin();
    pair.advance(LIMITS.handshakeMs);
    expect(pair.closed).toEqual([["handshake timed out"], ["handshake timed out"]]);
  });

  test("a message before the handshake is done, or a step after it, ends the connection", () => {
    const early = new Pair();
    early.inject(1, encodeFrame(FRAME_MESSAGE, 0, [Buffer.from("x")]));
    expect(early.closed[1]).toEqual(["refused: garbage"]);
    const late = Pair.up();
    late.inject(1, encodeFrame(FRAME_HELLO, 0, [Buffer.from("x")]));
    expect(late.closed[1]).toEqual(["a frame out of place"]);
    expect(late.handlers[1].events).toEqual(["up control", "down control: a frame out of place"]);
  });

  test("a long frame is refused before the handshake is done, from its header", () => {
    const pair = new Pair();
    pair.inject(1, encodeFrame(FRAME_HELLO, 0, [Buffer.alloc(1000)]).subarray(0, 20));
    expect(pair.closed[1]).toEqual(["a frame longer than it may be"]);
  });

  test("holds a sender to its credit, and ends one that does otherwise", () => {
    const pair = Pair.up();
    const [a] = pair.ends;
    const held: { release(): void }[] = [];
    pair.handlers[1].onEach = (message) => held.push(message.hold());
    const part = Buffer.alloc(990);
    let sent = 0;
    for (let i = 0; i < 100; i++) {
      if (a.send(0, [part])) sent++;
      pair.pump();
    }
    // A frame is 1,010 bytes: ten are within the window of 10,000, and ten more wait in the queue of as much.
    expect({ sent, held: held.length }).toEqual({ sent: 20, held: 10 });
    pair.advance(20_000);
    expect(a.isUp).toBe(true);
    for (const each of held.splice(0)) each.release();
    pair.pump();
    // Nine of the ten are reported: three at a time, since a report is due after a quarter of the window.
    expect({ held: held.length, drains: pair.handlers[0].drains }).toEqual({ held: 9, drains: 1 });
    pair.inject(1, encodeFrame(FRAME_MESSAGE, 0, [part]));
    expect(pair.closed[1]).toEqual(["more than its credit"]);
    // Releasing what came over a link that has ended is no error.
    for (const each of held) each.release();
  });

  test("credit for what was not sent ends the connection", () => {
    for (const payload of [encodeCredit(1), Buffer.alloc(3), encodeCredit(2 ** 60)]) {
      const pair = Pair.up();
      pair.inject(0, encodeFrame(FRAME_CREDIT, 0, [payload]));
      expect(pair.closed[0]).toEqual(["credit for what was not sent"]);
    }
  });

  test("a held message keeps its bytes while others come, and is released once", () => {
    const pair = Pair.up();
    const held: { parts: readonly Uint8Array[]; release(): void }[] = [];
    pair.handlers[1].onEach = (message) => held.push(message.hold());
    for (const length of [10, 100, 6000, 20]) {
      pair.ends[0].send(0, [Buffer.alloc(length, length % 251)]);
      pair.pump();
    }
    expect(held.map(({ parts }) => Buffer.from(parts[0]!))).toEqual(
      [10, 100, 6000, 20].map((length) => Buffer.alloc(length, length % 251)),
    );
    held[0]!.release();
    expect(() => held[0]!.release()).toThrow("released twice");
  });
});
