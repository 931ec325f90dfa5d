/** Pictures of a cluster as tables and as JSON. */
import { SLOT_COUNT } from "../base/slot.ts";
import { slotCount } from "../base/slot-ranges.ts";
import { shortId, writerOf } from "./cluster-names.ts";
import {
  allNodes,
  type ClusterPicture,
  type NodePicture,
  type SetPicture,
} from "./cluster-picture.ts";
import { bytesText, countText, durationText } from "./figures.ts";
import { formatAddress } from "./resp-client.ts";
import { spansJson, spansText } from "./slot-spans.ts";
import { type Style, textTable } from "./text-table.ts";

const UNKNOWN = "-";

function slotsText({ slots, isDraining }: SetPicture, style: Style): string {
  const text = slots.length === 0 ? "none" : spansText(slots);
  return isDraining ? `${text} ${style.warn("draining")}` : text;
}

function numberOf({ info }: NodePicture, field: string): number | undefined {
  const text = info.get(field);
  return text === undefined ? undefined : Number(text);
}

function shown(value: number | undefined, format: (value: number) => string): string {
  return value === undefined ? UNKNOWN : format(value);
}

function keysOf({ info, isReachable }: NodePicture): number | undefined {
  if (!isReachable) return undefined;
  return Number(/keys=(\d+)/.exec(info.get("db0") ?? "")?.[1] ?? 0);
}

function healthText(node: NodePicture, style: Style): string {
  if (node.health === "fail") return style.bad("fail");
  if (!node.isReachable) return style.bad("no answer");
  return node.health === "online" ? style.good("online") : style.warn(node.health);
}

function roleText({ role, kind }: NodePicture, style: Style): string {
  if (role === "writer") return style.strong("writer");
  return kind === "learner" ? style.warn("learner") : "replica";
}

function lagText({ role, lagFrames }: NodePicture, style: Style): string {
  if (role === "writer" || lagFrames === undefined) return UNKNOWN;
  return lagFrames > 1000 ? style.warn(countText(lagFrames)) : countText(lagFrames);
}

/** Whether all slots are served, in one line. */
export function headline(picture: ClusterPicture, style: Style): string {
  const { sets, slotsServed, epoch, isOk } = picture;
  const nodes = allNodes(picture);
  const missing = nodes.filter(({ health, isReachable }) => health === "fail" || !isReachable);
  const state = isOk ? style.good("ok") : style.bad("fail");
  const gone = missing.length === 0 ? "" : style.bad(`, ${missing.length} of them missing`);
  return `cluster ${state}: ${slotsServed} of ${SLOT_COUNT} slots served, ${sets.length} replica set${sets.length === 1 ? "" : "s"}, ${nodes.length} node${nodes.length === 1 ? "" : "s"}${gone}, epoch ${epoch}`;
}

/** Every set with its nodes, and what they do now. */
export function statusTable({ sets }: ClusterPicture, style: Style): string {
  const heads = [
    ...["SET", "SLOTS", "NODE", "ADDRESS", "ROLE", "HEALTH", ">LAG", ">KEYS", ">OPS/S"],
    ...[">MEMORY", ">CLIENTS"],
  ];
  const rows = sets.flatMap((set) =>
    set.nodes.map((node, at) => {
      const isFirst = at === 0 || !style.isTerminal;
      return [
        isFirst ? shortId(set.id) : "",
        isFirst ? slotsText(set, style) : "",
        shortId(node.id),
        formatAddress(node),
        roleText(node, style),
        healthText(node, style),
        lagText(node, style),
        shown(keysOf(node), countText),
        shown(numberOf(node, "instantaneous_ops_per_sec"), countText),
        shown(numberOf(node, "used_memory_rss"), bytesText),
        shown(numberOf(node, "connected_clients"), countText),
      ];
    }),
  );
  return textTable(heads, rows, style);
}

/** Every node with its whole id. */
export function nodesTable({ sets }: ClusterPicture, style: Style): string {
  const heads = ["ID", "ADDRESS", "SET", ">EPOCH", "ROLE", "HEALTH", "VERSION", ">PID", ">UP"];
  const rows = sets.flatMap((set) =>
    set.nodes.map((node) => [
      node.id,
      formatAddress(node),
      shortId(set.id),
      `${set.epoch}`,
      roleText(node, style),
      healthText(node, style),
      node.info.get("dkv_version") ?? UNKNOWN,
      node.info.get("process_id") ?? UNKNOWN,
      shown(numberOf(node, "uptime_in_seconds"), durationText),
    ]),
  );
  return textTable(heads, rows, style);
}

/** Runs of slots in their order, and who has them. */
export function slotsTable({ sets }: ClusterPicture, style: Style): string {
  const heads = [">FIRST", ">LAST", ">COUNT", "SET", "WRITER", "REPLICAS"];
  const runs = sets.flatMap((set) => set.slots.map((span) => ({ set, span })));
  const rows = runs
    .toSorted((a, b) => a.span.start - b.span.start)
    .map(({ set, span }) => {
      const writer = writerOf(set);
      const replicas = set.nodes.filter((node) => node !== writer).map(formatAddress);
      return [
        `${span.start}`,
        `${span.end}`,
        `${slotCount([span])}`,
        shortId(set.id),
        writer === undefined ? style.bad("none") : formatAddress(writer),
        replicas.join(" "),
      ];
    });
  return textTable(heads, rows, style);
}

/** What `--json` prints: names stay as they are from release to release. */
export function pictureJson(picture: ClusterPicture) {
  return {
    state: picture.isOk ? "ok" : "fail",
    epoch: picture.epoch,
    slots: { total: SLOT_COUNT, served: picture.slotsServed },
    sets: picture.sets.map(({ id, epoch, slots, isDraining, nodes }) => ({
      ...{ id, epoch, slots: spansJson(slots), isDraining },
      nodes: nodes.map((node) => ({
        ...{ id: node.id, host: node.host, port: node.port, role: node.role, kind: node.kind },
        ...{ health: node.health, isReachable: node.isReachable },
        lagFrames: node.lagFrames ?? null,
        keys: keysOf(node) ?? null,
        opsPerSecond: numberOf(node, "instantaneous_ops_per_sec") ?? null,
        memoryBytes: numberOf(node, "used_memory_rss") ?? null,
        clients: numberOf(node, "connected_clients") ?? null,
        version: node.info.get("dkv_version") ?? null,
        uptimeSeconds: numberOf(node, "uptime_in_seconds") ?? null,
      })),
    })),
  };
}
