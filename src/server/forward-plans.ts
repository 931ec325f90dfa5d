/** Units made of a session's current request. */
import { encodeRequest, encodeWords } from "../resp/request-encoder.ts";
import { type CommandSpec, FLAG_WRITE } from "./command-table.ts";
import type { ForwardPlan } from "./forwarding.ts";
import type { Session } from "./session.ts";

const UNWATCH = encodeWords("UNWATCH");
const OK_REPLY = Buffer.from("+OK\r\n");

export function commandPlan(session: Session, spec: CommandSpec, slot: number): ForwardPlan {
  return {
    slot,
    kind: "command",
    isWatched: false,
    isWrite: spec.has(FLAG_WRITE),
    bytes: encodeRequest(session.request),
    requests: 1,
    whenRefused: undefined,
    finish: () => undefined,
  };
}

/** A WATCH that did not get through has watched nothing: the EXEC after it answers nil. */
export function watchPlan(session: Session, spec: CommandSpec, slot: number): ForwardPlan {
  const whenRefused = (): Buffer => {
    const watch = session.routing?.watch;
    if (watch !== undefined) watch.isBroken = true;
    return OK_REPLY;
  };
  return { ...commandPlan(session, spec, slot), kind: "watch", whenRefused };
}

export function unwatchPlan(slot: number): ForwardPlan {
  return {
    slot,
    kind: "unwatch",
    isWatched: false,
    isWrite: false,
    bytes: [UNWATCH],
    requests: 1,
    whenRefused: () => OK_REPLY,
    finish: () => undefined,
  };
}
