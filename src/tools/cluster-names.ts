/**
 * How operators name nodes and replica sets: by an address, or by the beginning of an id. What is named must be one thing;
 * otherwise they are told what there is to choose from.
 */
import {
  allNodes,
  type ClusterPicture,
  type NodePicture,
  type SetPicture,
} from "./cluster-picture.ts";
import { formatAddress } from "./resp-client.ts";
import { ToolError } from "./tool-error.ts";

const ID_SHOWN = 8;
/** Fewer digits are rather a slip than an id. */
const PREFIX = /^[0-9a-f]{4,40}$/i;

export function shortId(id: string): string {
  return id === "" ? "-" : id.slice(0, ID_SHOWN);
}

export function nodeName(node: NodePicture): string {
  return `${shortId(node.id)} (${formatAddress(node)})`;
}

export function writerOf({ nodes }: SetPicture): NodePicture | undefined {
  return nodes.find(({ role }) => role === "writer");
}

/** A set by its short id and its writer's address. */
export function setName({ sets }: ClusterPicture, id: string): string {
  const set = sets.find((each) => each.id === id);
  const writer = set === undefined ? undefined : writerOf(set);
  return writer === undefined ? shortId(id) : `${shortId(id)} (${formatAddress(writer)})`;
}

function hasId(id: string, name: string): boolean {
  return PREFIX.test(name) && id.startsWith(name.toLowerCase());
}

function isNode(node: NodePicture, name: string): boolean {
  return formatAddress(node) === name || hasId(node.id, name);
}

function nodeLine(node: NodePicture): string {
  return `  ${shortId(node.id)}  ${formatAddress(node)}  ${node.role}`;
}

function setLine(set: SetPicture): string {
  return `  ${shortId(set.id)}  ${set.nodes.map(formatAddress).join(" ")}`;
}

const HOW = "Name it by host:port, or by four or more digits that its id begins with";

/** Throws ToolError when there is no such node, or several. */
export function findNode(picture: ClusterPicture, name: string): NodePicture {
  const nodes = allNodes(picture);
  const found = nodes.filter((node) => isNode(node, name));
  if (found.length === 1) return found[0]!;
  throw notOne("node", name, {
    found: found.map((node) => nodeLine(node)),
    all: nodes.map(nodeLine),
  });
}

/** The set of that id, or of that node. Throws ToolError when there is none, or several. */
export function findSet(picture: ClusterPicture, name: string): SetPicture {
  const found = picture.sets.filter(
    ({ id, nodes }) => hasId(id, name) || nodes.some((node) => isNode(node, name)),
  );
  if (found.length === 1 && found[0]!.id !== "") return found[0]!;
  if (found.length === 1) {
    throw new ToolError(`no node of ${name}'s replica set answers`, {
      hint: "It can neither give slots away nor take some before one does: `cluster status` shows which are missing.",
    });
  }
  throw notOne("replica set", name, {
    found: found.map(setLine),
    all: picture.sets.map(setLine),
  });
}

/** `found`: lines of what `name` may be; `all`: of what there is. */
function notOne(
  kind: string,
  name: string,
  { found, all }: { readonly found: readonly string[]; readonly all: readonly string[] },
): ToolError {
  const [problem, lines] =
    found.length === 0
      ? [`there is no ${kind} ${name}`, all]
      : [`${name} may be any of ${found.length} ${kind}s`, found];
  return new ToolError(problem, { hint: `${HOW}:\n${lines.join("\n")}` });
}

/** The ids that begin so. */
export function idsLike(ids: readonly string[], name: string): string[] {
  return ids.filter((id) => hasId(id, name));
}
