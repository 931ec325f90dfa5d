/** One line of CLIENT LIST and CLIENT INFO, with the fields of Redis 7.2 in its order. */
import type { Session } from "../session.ts";

function flagsOf(session: Session): string {
  let flags = "";
  if (session.isMonitor) flags += "O";
  if (session.routing?.isReadonly === true) flags += "r";
  if (session.unblock !== undefined) flags += "b";
  if (session.transaction !== undefined) flags += "x";
  if (session.isWatchBroken) flags += "d";
  if (session.isClosing) flags += "c";
  if (session.isNoEvict) flags += "e";
  if (session.isNoTouch) flags += "T";
  return flags === "" ? "N" : flags;
}

function seconds(ms: number): number {
  return Math.max(0, Math.floor(ms / 1000));
}

/** `nowMs` on the wall clock, `monotonicMs` on the monotonic one. */
export function clientLine(session: Session, nowMs: number, monotonicMs: number): string {
  const { parser, reply, socket, transaction } = session;
  const queryBytes = parser.bufferedBytes;
  const replyBytes = reply.buffer.length;
  const pieceBytes = session.pendingBytes - reply.length;
  const fields: [string, string | number][] = [
    ["id", session.id],
    ["addr", session.address],
    ["laddr", session.localAddress],
    ["fd", (socket as unknown as { fd: number }).fd],
    ["name", session.name],
    ["age", seconds(monotonicMs - session.connectedMs)],
    ["idle", seconds(nowMs - session.lastActiveMs)],
    ["flags", flagsOf(session)],
    ["db", 0],
    ["sub", 0],
    ["psub", 0],
    ["ssub", 0],
    ["multi", transaction === undefined ? -1 : transaction.specs.length],
    ["qbuf", queryBytes],
    ["qbuf-free", 0],
    ["argv-mem", 0],
    ["multi-mem", 0],
    ["rbs", replyBytes],
    ["rbp", replyBytes],
    ["obl", reply.length],
    ["oll", reply.pieces.length],
    ["omem", pieceBytes],
    ["tot-mem", queryBytes + replyBytes + pieceBytes],
    ["events", session.outbox.isBlocked ? "rw" : "r"],
    ["cmd", session.lastCommand?.name ?? "NULL"],
    ["user", "default"],
    ["redir", -1],
    ["resp", reply.protocol],
    ["lib-name", session.libraryName],
    ["lib-ver", session.libraryVersion],
  ];
  return `${fields.map(([name, value]) => `${name}=${value}`).join(" ")}\n`;
}
