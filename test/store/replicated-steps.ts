/** What may happen next in a world of replicated nodes: writes, batches, commits, time, flushes, kills, other writers. */
import { digestOf, type Unit } from "../crash/history.ts";
import type { StoreSession } from "../crash/store-session.ts";
import type { Random } from "../support/crash-states.ts";
import type { World } from "./replicated-nodes.ts";

const KEYS = 30;
const KIB = 1024;

type Change = (session: StoreSession) => Unit["changes"];

function randomUnit(random: Random, nowMs: number): Change {
  const key = () => `key-${Math.floor(random() ** 2 * KEYS)}`;
  const value = (bytesMax: number) => Buffer.alloc(Math.floor(random() * bytesMax), `${random()} `);
  const chance = random();
  const one = key();
  if (chance < 0.4) {
    const bytes = value(chance < 0.3 ? 400 : 6 * KIB);
    const expiry = random() < 0.3 ? nowMs + 1 + Math.floor(random() * 600) : 0;
    return (session) => [session.put(one, bytes, expiry)];
  }
  if (chance < 0.5) {
    const bytes = value(90 * KIB);
    return (session) => [session.put(one, bytes, 0)];
  }
  if (chance < 0.65) return (session) => remove(session, one);
  if (chance < 0.75) {
    const expiry = random() < 0.3 ? 0 : nowMs + 1 + Math.floor(random() * 600);
    return (session) => expire(session, one, expiry);
  }
  if (chance < 0.97) {
    const plan = Array.from(
      { length: 2 + Math.floor(random() * 5) },
      () => [key(), value(300)] as const,
    );
    return (session) => plan.map(([name, bytes]) => session.put(name, bytes, 0));
  }
  return (session) => {
    session.store.removeAll();
    return "all";
  };
}

function remove(session: StoreSession, key: string): Unit["changes"] {
  session.select(key);
  return session.store.remove() ? [[key, undefined]] : [];
}

function expire(session: StoreSession, key: string, expiry: number): Unit["changes"] {
  const found = session.read(key);
  if (found === undefined) return [];
  session.select(key);
  session.store.find();
  session.store.setExpiry(expiry);
  return [[key, { digest: digestOf(found.bytes), expiry }]];
}

/** `mortal`: how many of the nodes may be killed. */
export async function step(world: World, mortal = world.nodes.length): Promise<void> {
  const { random } = world;
  const chance = random();
  if (chance < 0.5) return await world.write(randomUnit(random, world.clock.wallMs()));
  if (chance < 0.75) {
    await world.ship(world.any(world.replicas));
    return;
  }
  if (chance < 0.87) return world.commit(false);
  if (chance < 0.9) {
    world.clock.advance(Math.floor(random() * 300));
    return;
  }
  if (chance < 0.93) return await world.checkReplica(world.any(world.replicas));
  if (chance < 0.95) return await world.writer.session.flush();
  if (chance < 0.96) return await world.any(world.nodes).session.store.internals.lsm.compactAll();
  if (chance < 0.985) {
    const node = world.any(world.replicas);
    if (world.nodes.indexOf(node) < mortal) await node.kill();
    return;
  }
  return await world.elect(world.successor());
}
