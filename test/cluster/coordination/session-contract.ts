/** The contract of a Coordinator, second part: connections that break, outcomes that stay open, sessions that end. */
import { expect } from "bun:test";
import { settleWrite } from "../../../src/cluster/coordination/settle-write.ts";
import { bytes, type ContractContext, eventsOf, SHORT_MS, text } from "./contract-context.ts";

export function describeSessions(context: ContractContext): void {
  context.test(
    "a cut connection is suspended, then taken up by the same session",
    async (folder) => {
      const { coordinator, suspend, resume } = await context.open();
      const { number } = coordinator.session;
      const events = eventsOf(coordinator);
      await coordinator.create(`${folder}/e`, bytes(""), "ephemeral");
      suspend();
      await context.reached(coordinator, "suspended");
      expect(await coordinator.read(folder)).toEqual({
        kind: "unavailable",
        reason: "not connected",
      });
      expect(await coordinator.write(folder, bytes("x"), 0)).toEqual({
        kind: "unavailable",
        reason: "not connected",
      });
      resume();
      await context.reached(coordinator, "connected");
      expect(coordinator.session.number).toBe(number);
      await context.until("events", () => events.length === 2);
      expect(events).toEqual(["suspended", "connected"]);
      expect(await context.dataOf(`${folder}/e`)).toBe("");
      expect(await context.dataOf(folder)).toBe("");
    },
  );

  context.test(
    "watches fire when the connection returns, so no change stays unseen",
    async (folder) => {
      const { coordinator, suspend, resume } = await context.open();
      const fired: string[] = [];
      await coordinator.read(folder, { onChange: () => fired.push("document") });
      await coordinator.list(folder, { onChange: () => fired.push("children") });
      await coordinator.read(`${folder}/none`, { onChange: () => fired.push("missing") });
      suspend();
      await context.reached(coordinator, "suspended");
      await context.settled(context.observer.write(folder, bytes("changed"), 0));
      expect(fired).toEqual([]);
      resume();
      await context.until("notifications", () => fired.length === 3);
      expect(fired.sort()).toEqual(["children", "document", "missing"]);
      expect(await context.settled(coordinator.read(folder))).toMatchObject({
        data: bytes("changed"),
      });
    },
  );

  context.test(
    "a lost reply leaves the outcome unknown, and settleWrite finds it out",
    async (folder) => {
      const path = `${folder}/a`;
      await context.observer.create(path, bytes("0"), "durable");
      const { coordinator, loseReply } = await context.open();
      const isOwn = ({ data }: { data: Uint8Array }) => text(data) === "mine";

      loseReply(false);
      expect(await context.settled(coordinator.write(path, bytes("mine"), 0))).toEqual({
        kind: "unknown",
      });
      await context.reached(coordinator, "connected");
      const notApplied = await context.settled(settleWrite(coordinator, path, 0, isOwn));
      expect(notApplied).toMatchObject({ kind: "not applied", document: { version: 0 } });

      loseReply(true);
      expect(await context.settled(coordinator.write(path, bytes("mine"), 0))).toEqual({
        kind: "unknown",
      });
      await context.reached(coordinator, "connected");
      const applied = await context.settled(settleWrite(coordinator, path, 0, isOwn));
      expect(applied).toMatchObject({ kind: "applied", document: { version: 1 } });

      await context.settled(context.observer.write(path, bytes("theirs"), 1));
      const other = await context.settled(settleWrite(coordinator, path, 0, isOwn));
      expect(other).toMatchObject({ kind: "superseded", document: { version: 2 } });
      const theirs = await context.settled(settleWrite(coordinator, path, 1, isOwn));
      expect(theirs).toMatchObject({ kind: "not applied" });
      const none = await context.settled(settleWrite(coordinator, `${path}/none`, 0, isOwn));
      expect(none).toEqual({ kind: "missing" });
    },
  );

  context.test("a multi whose reply is lost happened as a whole or not at all", async (folder) => {
    const { coordinator, loseReply } = await context.open();
    for (const isApplied of [true, false]) {
      const [a, b] = [`${folder}/a-${isApplied}`, `${folder}/b-${isApplied}`];
      loseReply(isApplied);
      const outcome = coordinator.multi([
        { kind: "create", path: a, data: bytes("x"), lifetime: "durable" },
        { kind: "create", path: b, data: bytes("x"), lifetime: "durable" },
      ]);
      expect(await context.settled(outcome)).toEqual({ kind: "unknown" });
      await context.reached(coordinator, "connected");
      await context.settled(coordinator.read(folder, { fresh: true }));
      const expected = isApplied ? "x" : "missing";
      expect([await context.dataOf(a), await context.dataOf(b)]).toEqual([expected, expected]);
    }
  });

  context.test("ephemeral documents end when their session is closed", async (folder) => {
    const { coordinator } = await context.open();
    const path = `${folder}/e`;
    await coordinator.create(path, bytes("here"), "ephemeral");
    let fired = false;
    const read = await context.settled(
      context.observer.read(path, {
        fresh: true,
        onChange: () => {
          fired = true;
        },
      }),
    );
    expect(read).toMatchObject({ kind: "ok", lifetime: "ephemeral" });
    await context.settled(coordinator.close());
    await context.until("the notification", () => fired);
    expect(await context.dataOf(path)).toBe("missing");
  });

  context.test(
    "a session cut off expires by its own deadline, and the next one begins without its documents",
    async (folder) => {
      const { coordinator, suspend, resume } = await context.open(SHORT_MS);
      const events = eventsOf(coordinator);
      const path = `${folder}/e`;
      const { number } = coordinator.session;
      await context.settled(coordinator.create(path, bytes("first"), "ephemeral"));
      suspend();
      await context.until("its own deadline", () => coordinator.session.state === "expired");
      expect(coordinator.session.number).toBeGreaterThanOrEqual(number);
      expect(await coordinator.read(path)).toEqual({
        kind: "unavailable",
        reason: "not connected",
      });
      resume();
      await context.reached(coordinator, "connected");
      expect(coordinator.session.number).toBeGreaterThan(number);
      expect(await context.dataOf(path)).toBe("missing");
      await context.until("the event", () => events.at(-1) === "connected new");
      expect(events).toContain("suspended");
      expect(events).toContain("expired");
    },
  );

  context.test(
    "a silent connection is given up, and its session expires by the own deadline",
    async (folder) => {
      const { coordinator, stall, resume } = await context.open(SHORT_MS);
      const { number } = coordinator.session;
      let fired = 0;
      await context.settled(
        coordinator.read(folder, {
          onChange: () => {
            fired++;
          },
        }),
      );
      stall();
      const write = coordinator.write(folder, bytes("x"), 0);
      expect(["unknown", "unavailable"]).toContain((await context.settled(write)).kind);
      await context.until("its own deadline", () => coordinator.session.state === "expired");
      resume();
      await context.reached(coordinator, "connected");
      expect(coordinator.session.number).toBeGreaterThan(number);
      await context.until("the notification", () => fired === 1);
    },
  );

  context.test("close is final", async (folder) => {
    const { coordinator } = await context.open();
    const events = eventsOf(coordinator);
    let fired = false;
    await coordinator.read(folder, {
      onChange: () => {
        fired = true;
      },
    });
    await context.settled(coordinator.close());
    await context.settled(coordinator.close());
    expect(events).toEqual(["closed"]);
    expect(coordinator.session.state).toBe("closed");
    const closed = { kind: "unavailable", reason: "closed" } as const;
    expect(await coordinator.read(folder)).toEqual(closed);
    expect(await coordinator.list(folder)).toEqual(closed);
    expect(await coordinator.remove(folder, 0)).toEqual(closed);
    expect(await coordinator.multi([{ kind: "check", path: folder, version: 0 }])).toEqual(closed);
    expect(fired).toBe(false);
  });

  context.test("close of a session that is cut off ends by itself", async () => {
    const { coordinator, stall } = await context.open();
    stall();
    await context.settled(coordinator.close());
    expect(coordinator.session.state).toBe("closed");
  });

  context.test("a listener that was cancelled hears nothing", async () => {
    const { coordinator } = await context.open();
    const events: string[] = [];
    coordinator.onSession(({ state }) => events.push(state)).cancel();
    await context.settled(coordinator.close());
    expect(events).toEqual([]);
  });
}
