import { describe, expect, test } from "bun:test";
import type { PeerConnection } from "../../../src/cluster/transport/peer-connection.ts";
import { type OnStanding, PeerDialer } from "../../../src/cluster/transport/peer-dialer.ts";
import { TRANSPORT_LIMITS } from "../../../src/cluster/transport/transport-limits.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const LIMITS = { ...TRANSPORT_LIMITS, backoffMinMs: 100, backoffMaxMs: 1000, connectMs: 3000 };

function begin(fraction = 0) {
  const clock = new SimulatedClock(0);
  const attempts: { atMs: number; port: number; stand: OnStanding; fail(reason: string): void }[] =
    [];
  const closed: string[] = [];
  const dialer = new PeerDialer(
    {
      clock,
      limits: LIMITS,
      randomFraction: () => fraction,
      connect: ({ port }, stand, fail) =>
        attempts.push({ atMs: clock.monotonicMs(), port, stand, fail }),
      onFailed: () => undefined,
    },
    "peer",
    "control",
    { host: "host", port: 1 },
  );
  const connection = {
    isUp: true,
    close: (reason: string) => closed.push(reason),
  } as unknown as PeerConnection;
  const advance = (ms: number) => {
    for (let i = 0; i < ms; i += 10) clock.advance(10);
  };
  dialer.start();
  return { clock, dialer, attempts, connection, closed, advance };
}

describe("PeerDialer", () => {
  test("waits twice as long after each failure, up to the bound", () => {
    const { attempts, advance } = begin();
    for (let i = 0; i < 6; i++) {
      attempts.at(-1)!.fail("refused");
      advance(1000);
    }
    const times = attempts.map((attempt) => attempt.atMs);
    expect(times).toEqual([0, 100, 1200, 2400, 3800, 5000, 6000].slice(0, times.length));
    expect(times).toHaveLength(7);
  });

  test("chance shortens the delay by up to half", () => {
    const { attempts, advance } = begin(0.999);
    attempts[0]!.fail("refused");
    advance(60);
    expect(attempts).toHaveLength(2);
  });

  test("begins a bounded number of attempts beside those that hang, and uses the first that stands", () => {
    const { attempts, dialer, connection, advance } = begin();
    advance(120_000);
    expect(attempts).toHaveLength(16);
    expect(attempts[1]!.stand()).toBe(dialer);
    dialer.take(connection);
    expect(attempts[0]!.stand()).toBeUndefined();
    attempts[2]!.fail("timed out");
    advance(10_000);
    expect(attempts).toHaveLength(16);
  });

  test("a link that lasted is made again soon, one that did not later and later", () => {
    const { attempts, dialer, connection, clock, advance } = begin();
    const live = (ms: number): number => {
      attempts.at(-1)!.stand();
      dialer.take(connection);
      dialer.onUp();
      advance(ms);
      const count = attempts.length;
      dialer.onClosed(connection, "closed");
      const endMs = clock.monotonicMs();
      while (attempts.length === count) clock.advance(10);
      return clock.monotonicMs() - endMs;
    };
    expect([live(10), live(10), live(10)]).toEqual([100, 200, 400]);
    expect([live(2000), live(10)]).toEqual([100, 200]);
  });

  test("moveTo ends the link and forgets attempts to the old address", () => {
    const { attempts, dialer, connection, closed, advance } = begin();
    const [first] = attempts;
    dialer.moveTo({ host: "host", port: 2 });
    expect(attempts.map((attempt) => attempt.port)).toEqual([1, 2]);
    expect(first!.stand()).toBeUndefined();
    attempts[1]!.stand();
    dialer.take(connection);
    dialer.onUp();
    dialer.moveTo({ host: "host", port: 3 });
    expect(closed).toEqual(["the peer has another address"]);
    dialer.onClosed(connection, "closed");
    advance(200);
    expect(attempts.at(-1)!.port).toBe(3);
  });

  test("hurry ends a wait, and stop all attempts", () => {
    const { attempts, dialer, advance } = begin();
    for (let i = 0; i < 5; i++) {
      attempts.at(-1)!.fail("refused");
      advance(1000);
    }
    const count = attempts.length;
    attempts.at(-1)!.fail("refused");
    dialer.hurry();
    expect(attempts).toHaveLength(count + 1);
    dialer.hurry();
    expect(attempts).toHaveLength(count + 1);
    // That one hangs: the peer may have come back after its packets were lost.
    advance(500);
    dialer.hurry();
    expect(attempts).toHaveLength(count + 2);
    dialer.stop();
    attempts.at(-1)!.fail("refused");
    dialer.hurry();
    advance(10_000);
    expect(attempts).toHaveLength(count + 2);
  });
});
