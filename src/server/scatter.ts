/**
 * Commands of several keys that stock clients take for commands of one slot, since their CRC-16 slots are equal, while
 * the keys lie in several slots of dkv: one part per slot, executed by its owner, and one reply made of theirs.
 *
 *     MGET a b c   ─►  MGET a c  (slot 7)   *2 A C  ─┐
 *                      MGET b    (slot 9)   *1 B    ─┴─►  *3 A B C
 *
 * Not atomic across slots. Once a part may have written, the whole answers no error that clients retry on.
 */
import { clientSlotOf } from "../base/client-slot.ts";
import { slotOf } from "../base/slot.ts";
import { ReplySplitter } from "../resp/reply-splitter.ts";
import type { Request } from "../resp/request.ts";
import { encodeRequest } from "../resp/request-encoder.ts";
import { type CommandSpec, FLAG_WRITE, keysOf } from "./command-table.ts";
import type { ForwardPlan } from "./forwarding.ts";
import type { Session } from "./session.ts";

type Gather = (parts: readonly Part[], replies: readonly Buffer[]) => Buffer;

const GATHERS: Readonly<Record<string, Gather>> = {
  mget: gatherValues,
  mset: () => Buffer.from("+OK\r\n"),
  del: gatherCounts,
  unlink: gatherCounts,
  exists: gatherCounts,
  touch: gatherCounts,
};

const MINUS = 0x2d;

/** The keys of one slot. */
interface Part {
  readonly slot: number;
  /** Indexes of the keys among all keys of the request, and of the arguments that go with them. */
  readonly keys: number[];
  readonly args: number[];
}

export interface Scatter {
  readonly slots: readonly number[];
  /** One per slot, in the order of `slots`. */
  units(finish: (reply: Buffer) => void): ForwardPlan[];
}

/** How the session's request is scattered; undefined when it cannot be. REQUIRES: no large argument is a key. */
export function scatter({ request }: Session, spec: CommandSpec): Scatter | undefined {
  const gather = GATHERS[spec.name];
  const keys = keysOf(spec, request.count);
  // MSET without its last value is wrong wherever it runs.
  const isWhole = keys.at(-1)! + spec.keyStep <= request.count;
  if (gather === undefined || !isWhole) return undefined;
  const clientSlot = clientSlotOf(keyAt(request, keys[0]!));
  if (!keys.every((at) => clientSlotOf(keyAt(request, at)) === clientSlot)) return undefined;
  const bySlot = new Map<number, Part>();
  for (const [index, at] of keys.entries()) {
    const slot = slotOf(request.bytes, request.starts[at]!, request.ends[at]!);
    const part = bySlot.get(slot) ?? { slot, keys: [], args: [0] };
    bySlot.set(slot, part);
    part.keys.push(index);
    for (let arg = at; arg < at + spec.keyStep; arg++) part.args.push(arg);
  }
  const parts = [...bySlot.values()];
  const isWrite = spec.has(FLAG_WRITE);
  return {
    slots: parts.map((part) => part.slot),
    units(finish) {
      const replies: Buffer[] = [];
      let waiting = parts.length;
      return parts.map((part, index) => ({
        slot: part.slot,
        kind: "command",
        isWatched: false,
        isWrite,
        bytes: encodeRequest(request, part.args),
        requests: 1,
        whenRefused: undefined,
        finish(reply) {
          replies[index] = reply;
          if (--waiting === 0) finish(errorOf(replies, isWrite) ?? gather(parts, replies));
        },
      }));
    },
  };
}

function keyAt(request: Request, at: number): Uint8Array {
  return request.bytes.subarray(request.starts[at]!, request.ends[at]!);
}

/** What to answer when a part has failed. */
function errorOf(replies: readonly Buffer[], isWrite: boolean): Buffer | undefined {
  const errors = replies.filter((reply) => reply[0] === MINUS);
  const first = errors.find((error) => error.toString("latin1", 0, 9) === "-UNKNOWN ") ?? errors[0];
  if (first === undefined || !isWrite || errors.length === replies.length) return first;
  const text = first.toString("latin1", 1, first.length - 2);
  return Buffer.from(
    `-UNKNOWN some of the keys were written, others were not: ${text}\r\n`,
    "latin1",
  );
}

function gatherCounts(_parts: readonly Part[], replies: readonly Buffer[]): Buffer {
  const total = replies.reduce((sum, reply) => sum + Number(reply.toString("latin1", 1)), 0);
  return Buffer.from(`:${total}\r\n`);
}

/** Values of arrays, each at the place of its key. */
function gatherValues(parts: readonly Part[], replies: readonly Buffer[]): Buffer {
  const values: Buffer[] = [];
  for (const [index, part] of parts.entries()) {
    const reply = replies[index]!;
    let next = 0;
    const splitter = new ReplySplitter((value) => {
      values[part.keys[next++]!] = value;
    });
    splitter.push(reply.subarray(reply.indexOf("\n") + 1));
  }
  return Buffer.concat([Buffer.from(`*${values.length}\r\n`), ...values]);
}
