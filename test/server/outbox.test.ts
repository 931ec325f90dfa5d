/**
 * Outbox: whatever order replies of other nodes, commits, withdrawals and room in the socket come in, the client gets the
 * replies in the order of its requests, none before its tag is committed, and in the end one to each.
 */
import { expect, test } from "bun:test";
import type { Socket } from "bun";
import fc from "fast-check";
import type { Piece } from "../../src/resp/reply-writer.ts";
import { Outbox } from "../../src/server/outbox.ts";
import type { Session } from "../../src/server/session.ts";
import { Statistics } from "../../src/server/statistics.ts";
import type { Effect } from "../../src/server/withdraw-replies.ts";

type Step =
  | {
      readonly do: "reply";
      readonly length: number;
      readonly waits: boolean;
      readonly effect: Effect;
    }
  | { readonly do: "piece"; readonly waits: boolean }
  | { readonly do: "hole"; readonly length: number }
  | { readonly do: "fill"; readonly which: number }
  | { readonly do: "commit" | "flush" | "drain" | "withdraw" }
  | { readonly do: "room"; readonly bytes: number };

const effect: fc.Arbitrary<Effect> = fc.constantFrom("none", "read", "write");
const WITHDRAWN = { read: "-TRYAGAIN\r\n", write: "-UNKNOWN\r\n" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant("reply" as const), length: fc.nat(20), waits: fc.boolean(), effect }),
  fc.record({ do: fc.constant("piece" as const), waits: fc.boolean() }),
  fc.record({ do: fc.constant("hole" as const), length: fc.constantFrom(1, 5, 20_000) }),
  fc.record({ do: fc.constant("fill" as const), which: fc.nat(5) }),
  fc.record({ do: fc.constantFrom(...(["commit", "flush", "drain", "withdraw"] as const)) }),
  fc.record({ do: fc.constant("room" as const), bytes: fc.nat(50_000) }),
);

class Harness {
  sent = "";
  room = Number.POSITIVE_INFINITY;
  committed = 0;
  readonly confirmed = 0;
  readonly ticks = 0;
  newestTag = 0;
  batchTag = 0;
  /** Bytes that may be sent at most: up to the first reply that waits. */
  readonly replies: {
    text: string;
    tag: number;
    isThere: boolean;
    readonly effect: Effect;
    readonly batch: number;
  }[] = [];
  #batch = 0;
  /** The highest tag of each batch. */
  readonly #tags: number[] = [];
  readonly holes: { readonly hole: Piece; readonly index: number }[] = [];
  readonly outbox: Outbox;

  constructor() {
    const write = (bytes: Buffer, start: number, count: number): number => {
      const taken = Math.min(count, this.room);
      this.room -= taken;
      this.sent += bytes.toString("latin1", start, start + taken);
      return taken;
    };
    this.outbox = new Outbox({ write } as unknown as Socket<Session>, new Statistics(0));
  }

  #text(length: number): string {
    return `+${this.replies.length}${"x".repeat(length)}\r\n`;
  }

  #add(text: string, waits: boolean, effect: Effect): void {
    if (waits) this.batchTag = ++this.newestTag;
    this.outbox.mark(effect);
    this.replies.push({ text, tag: this.batchTag, isThere: true, effect, batch: this.#batch });
  }

  /** All from the first batch on that waits: their replies are as good as given. */
  #withdraw(): void {
    this.flush();
    this.outbox.withdraw(
      { read: Buffer.from(WITHDRAWN.read), write: Buffer.from(WITHDRAWN.write) },
      this,
    );
    const first = this.#tags.findIndex((tag) => tag > this.committed);
    for (const each of this.replies) {
      if (first < 0 || each.batch < first) continue;
      each.tag = 0;
      if (each.effect !== "none") each.text = WITHDRAWN[each.effect];
    }
    this.#tags.fill(0);
    this.outbox.send(this);
  }

  run(each: Step): void {
    const { reply } = this.outbox;
    if (each.do === "reply") {
      const text = this.#text(each.length);
      reply.raw(Buffer.from(text));
      // A command that runs again takes its reply back, and nothing of those before it.
      reply.truncate(reply.length - text.length);
      reply.raw(Buffer.from(text));
      this.#add(text, each.waits, each.effect);
    } else if (each.do === "piece") {
      const body = Buffer.alloc(20_000, "p");
      reply.bulkPieces([body]);
      this.#add(`$20000\r\n${body.toString()}\r\n`, each.waits, "read");
    } else if (each.do === "hole") {
      const text = this.#text(each.length);
      this.holes.push({ hole: reply.openHole(), index: this.replies.length });
      this.outbox.mark("none");
      this.replies.push({ text, tag: 0, isThere: false, effect: "none", batch: this.#batch });
    } else if (each.do === "fill") {
      const [found] = this.holes.splice(each.which % Math.max(1, this.holes.length), 1);
      if (found === undefined) return;
      const entry = this.replies[found.index]!;
      entry.isThere = true;
      reply.fill(found.hole, Buffer.from(entry.text));
    } else if (each.do === "withdraw") {
      this.#withdraw();
    } else if (each.do === "room") {
      this.room = each.bytes;
    } else if (each.do === "drain") {
      this.room = Number.POSITIVE_INFINITY;
      this.outbox.isBlocked = false;
      this.flush();
    } else if (each.do === "commit") {
      this.flush();
      this.committed = this.newestTag;
      this.outbox.send(this);
    } else {
      this.flush();
    }
  }

  flush(): void {
    this.#tags[this.#batch] = this.batchTag;
    this.#batch++;
    if (!this.outbox.isEmpty) this.outbox.tag(this.batchTag, 0, this);
    this.outbox.send(this);
    this.batchTag = 0;
  }

  check(): void {
    const all = this.replies.map(({ text }) => text).join("");
    expect(all.startsWith(this.sent)).toBe(true);
    const stop = this.replies.findIndex(({ tag, isThere }) => tag > this.committed || !isThere);
    const most = this.replies.slice(0, stop < 0 ? undefined : stop);
    expect(this.sent.length).toBeLessThanOrEqual(
      most.reduce((sum, { text }) => sum + text.length, 0),
    );
  }
}

test("replies leave in order, when they may, and all of them", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const harness = new Harness();
      for (const each of steps) {
        harness.run(each);
        harness.check();
      }
      while (harness.holes.length > 0) harness.run({ do: "fill", which: 0 });
      harness.run({ do: "drain" });
      harness.run({ do: "commit" });
      harness.check();
      expect(harness.sent.length).toBe(
        harness.replies.reduce((sum, { text }) => sum + text.length, 0),
      );
      expect(harness.outbox.isEmpty).toBe(true);
      expect(harness.outbox.reply.openHoles).toBe(0);
    }),
    { numRuns: 300 },
  );
});
