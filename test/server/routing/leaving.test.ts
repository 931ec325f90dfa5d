/** A node that has given its writer role away and is about to end: who is told, and how long it waits. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { MemoryLinks } from "../../support/static-cluster.ts";
import { ask, bulk, RoutingFixture } from "./routing-fixture.ts";

const TIMEOUT_MS = 60_000;
const FOREVER_MS = 10_000;

let fixture: RoutingFixture;
beforeAll(async () => {
  fixture = await RoutingFixture.start(new MemoryLinks());
}, TIMEOUT_MS);
afterAll(() => fixture.cluster.stop(), TIMEOUT_MS);
beforeEach(() => fixture.renew());

/** The replica of the first set, whose clients miss every slot. It never comes back. */
const leaving = () => fixture.cluster.nodesOf(0)[1]!;
const memberOf = (id: string) => fixture.cluster.members.find((each) => each.id === id)!;

test(
  "named clients are told once per slot and forwarded then; forward never tells",
  async () => {
    const { here, there } = fixture;
    const before = await fixture.named(0, 1);
    expect(await ask(before, `SET ${here} 1`)).toEqual(["+OK\r\n"]);
    const left = memberOf(leaving().id).server.sendClientsAway();
    for (const key of [here, there]) {
      expect(await ask(before, `GET ${key}`)).toEqual([fixture.movedTo(key)]);
      expect(await ask(before, `SET ${key} 2`, `GET ${key}`)).toEqual(["+OK\r\n", bulk("2")]);
    }
    // Within MULTI it would make EXEC fail.
    const queueing = await fixture.named(0, 1);
    const replies = await ask(queueing, "MULTI", `SET ${here} 2`, "EXEC");
    expect(replies).toEqual(["+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n"]);
    fixture.redirect("forward");
    const later = await fixture.named(0, 1);
    expect(await ask(later, `GET ${here}`)).toEqual([bulk("2")]);
    await left;
  },
  TIMEOUT_MS,
);

test(
  "it waits as long as clients come, and not for ever",
  async () => {
    const { server } = memberOf(leaving().id);
    const startMs = performance.now();
    await server.sendClientsAway();
    const aloneMs = performance.now() - startMs;
    const client = await fixture.named(0, 1);
    let isOver = false;
    const busy = (async () => {
      while (!isOver) expect(await ask(client, `SET ${fixture.here} 1`)).toHaveLength(1);
    })();
    await server.sendClientsAway();
    isOver = true;
    await busy;
    const busyMs = performance.now() - startMs - aloneMs;
    expect(busyMs).toBeGreaterThan(aloneMs * 2);
    expect(busyMs).toBeLessThan(FOREVER_MS);
  },
  TIMEOUT_MS,
);
