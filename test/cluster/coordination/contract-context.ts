/**
 * What the tests of the contract have in common. The harness makes sessions on one ensemble, breaks their connections,
 * and lets time pass until a condition holds: simulated time for memory, real time for ZooKeeper.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Coordinator, SessionEvent } from "../../../src/cluster/coordination/coordinator.ts";

export interface Subject {
  readonly coordinator: Coordinator;
  /** The connection ends, and no new one is made until resume(). */
  suspend(): void;
  /** Nothing passes in either direction, and nobody is told. */
  stall(): void;
  resume(): void;
  /** The connection ends when the next change has been applied and its reply is due, or before it is applied. */
  loseReply(isApplied: boolean): void;
}

export interface Harness {
  /** A Coordinator with its first session. */
  open(sessionTimeoutMs: number): Promise<Subject>;
  until(what: string, condition: () => boolean | Promise<boolean>): Promise<void>;
  /** The promise, while time passes. */
  settled<T>(promise: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Long enough that a slow machine does not lose a session by itself. */
const LONG_MS = 15_000;
/** Short enough to wait for its end. */
export const SHORT_MS = 1500;
const TEST_MS_MAX = 60_000;

export const bytes = (text: string) => new TextEncoder().encode(text);
export const text = (data: Uint8Array) => new TextDecoder().decode(data);

export class ContractContext {
  readonly #opened: Coordinator[] = [];
  #harness!: Harness;
  #observer!: Coordinator;
  #folders = 0;

  constructor(start: () => Promise<Harness>) {
    beforeAll(async () => {
      this.#harness = await start();
      this.#observer = (await this.#harness.open(LONG_MS)).coordinator;
    }, TEST_MS_MAX);
    afterAll(async () => {
      await this.#harness.settled(this.#observer.close());
      await this.#harness.close();
    }, TEST_MS_MAX);
  }

  /** A session that nothing happens to. */
  get observer(): Coordinator {
    return this.#observer;
  }

  /** A test gets a folder of its own; its sessions are closed at the end. */
  test(name: string, run: (folder: string) => Promise<void>): void {
    const runInFolder = async () => {
      const folder = `/test-${++this.#folders}`;
      const made = await this.settled(this.#observer.create(folder, bytes(""), "durable"));
      expect(made).toEqual({ kind: "ok", version: 0 });
      try {
        await run(folder);
      } finally {
        for (const coordinator of this.#opened.splice(0)) await this.settled(coordinator.close());
      }
    };
    test(name, runInFolder, TEST_MS_MAX);
  }

  async open(sessionTimeoutMs = LONG_MS): Promise<Subject> {
    const subject = await this.#harness.open(sessionTimeoutMs);
    this.#opened.push(subject.coordinator);
    return subject;
  }

  until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    return this.#harness.until(what, condition);
  }

  settled<T>(promise: Promise<T>): Promise<T> {
    return this.#harness.settled(promise);
  }

  reached(coordinator: Coordinator, state: string): Promise<void> {
    return this.until(state, () => coordinator.session.state === state);
  }

  /** What is there for everybody, or `missing`. */
  async dataOf(path: string): Promise<string> {
    const read = await this.settled(this.#observer.read(path, { fresh: true }));
    return read.kind === "ok" ? text(read.data) : read.kind;
  }
}

export function eventsOf(coordinator: Coordinator): string[] {
  const events: string[] = [];
  coordinator.onSession((event: SessionEvent) => {
    events.push(event.isNew ? `${event.state} new` : event.state);
  });
  return events;
}
