/** What the dispatcher asks the store before a command runs, with a store of which a test says what it answers. */
import { describe, expect, test } from "bun:test";
import { ReplyWriter } from "../../src/resp/reply-writer.ts";
import type { Request } from "../../src/resp/request.ts";
import { COMMANDS, lookup } from "../../src/server/command-table.ts";
import { Dispatcher } from "../../src/server/dispatcher.ts";
import type { ServerContext } from "../../src/server/handler.ts";
import { ReplyMode } from "../../src/server/reply-mode.ts";
import type { Session } from "../../src/server/session.ts";
import { Statistics } from "../../src/server/statistics.ts";
import { Transaction } from "../../src/server/transaction.ts";
import { requestOf } from "../support/request-support.ts";

const REFUSAL = "MISCONF the disk is full";

class Fixture {
  readonly housekeeping: { refusal: string | undefined; throttled: Promise<void> | undefined } = {
    refusal: undefined,
    throttled: undefined,
  };
  readonly ran: string[] = [];
  readonly #session: Session;
  readonly #dispatcher: Dispatcher;

  constructor() {
    const statistics = new Statistics(0);
    const server = {
      store: { housekeeping: this.housekeeping, beginUnit() {}, endUnit() {} },
      clock: { monotonicMicros: () => 0 },
      statistics,
      clients: { pausedUntilMs: 0, monitors: new Set() },
      latency: { thresholdMs: 0 },
      watchedKeys: { removeAll() {} },
    } as unknown as ServerContext;
    const handler = (name: string) => () => {
      this.ran.push(name);
    };
    const handlers = Object.fromEntries(COMMANDS.map(({ name }) => [name, handler(name)]));
    this.#dispatcher = new Dispatcher({ server, handlers });
    this.#session = {
      reply: new ReplyWriter(),
      isAuthenticated: true,
      work: { clear() {} },
      replyMode: new ReplyMode(),
    } as unknown as Session;
  }

  /** EXEC of these commands: what it waits for, undefined for nothing; and its reply, unless a handler wrote it. */
  exec(...names: string[]): { wait: Promise<void> | undefined; reply: string } {
    const transaction = new Transaction();
    for (const name of names) {
      const bytes = Buffer.from(name);
      transaction.specs.push(lookup(bytes, 0, bytes.length)!);
    }
    this.#session.transaction = transaction;
    return this.run("EXEC");
  }

  run(...words: string[]): { wait: Promise<void> | undefined; reply: string } {
    const session = this.#session as { request: Request; reply: ReplyWriter };
    session.request = requestOf(...words);
    const start = session.reply.length;
    const wait = this.#dispatcher.execute(this.#session);
    const reply = session.reply.length === start ? "" : session.reply.lineAt(start);
    session.reply.truncate(start);
    return { wait, reply };
  }

  get isInTransaction(): boolean {
    return this.#session.transaction !== undefined;
  }
}

describe("EXEC", () => {
  test("waits as a write does while writers are slowed, when it has a write to run", () => {
    const fixture = new Fixture();
    const throttled = Promise.resolve();
    fixture.housekeeping.throttled = throttled;
    expect(fixture.exec("get", "set").wait).toBe(throttled);
    expect(fixture.isInTransaction).toBe(true);
    expect(fixture.ran).toEqual([]);
    fixture.exec("get", "get");
    expect(fixture.ran).toEqual(["exec"]);
  });

  test("is refused with its transaction when the disk has become full since its writes were queued", () => {
    const fixture = new Fixture();
    fixture.housekeeping.refusal = REFUSAL;
    expect(fixture.exec("get", "set").reply).toBe(
      `EXECABORT Transaction discarded because of: ${REFUSAL}`,
    );
    expect(fixture.isInTransaction).toBe(false);
    fixture.exec("get");
    expect(fixture.ran).toEqual(["exec"]);
  });
});

test("reads wait for nothing and are not refused while writes are", () => {
  const fixture = new Fixture();
  const throttled = Promise.resolve();
  fixture.housekeeping.throttled = throttled;
  expect(fixture.run("SET", "k", "v").wait).toBe(throttled);
  expect(fixture.run("GET", "k").wait).toBeUndefined();
  fixture.housekeeping.refusal = REFUSAL;
  expect(fixture.run("SET", "k", "v").reply).toBe(REFUSAL);
  expect(fixture.run("GET", "k").wait).toBeUndefined();
  expect(fixture.ran).toEqual(["get", "get"]);
});
