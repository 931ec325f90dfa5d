/** What `cluster failover` and `cluster forget` do. */
import type { Clock } from "../base/clock.ts";
import {
  allNodes,
  type ClusterCamera,
  type ClusterPicture,
  type NodePicture,
} from "./cluster-picture.ts";
import { shortId } from "./cluster-report.ts";
import type { ToolEnvironment } from "./environment.ts";
import { errorOf, formatAddress } from "./resp-client.ts";
import { EXIT_FAILED, ToolError } from "./tool-error.ts";

const POLL_MS = 20;
const WHOLE_ID = /^[0-9a-f]{40}$/;

/** The one node whose address or id begins so. Throws ToolError when there is none, or several. */
export function findNode(picture: ClusterPicture, name: string): NodePicture {
  const nodes = allNodes(picture);
  const found = nodes.filter((node) => formatAddress(node) === name || node.id.startsWith(name));
  if (found.length === 1) return found[0]!;
  const list = nodes.map((node) => `  ${shortId(node.id)}  ${formatAddress(node)}  ${node.role}`);
  const problem = found.length === 0 ? `there is no node ${name}` : `${name} may be several nodes`;
  throw new ToolError(problem, { hint: `The cluster has:\n${list.join("\n")}` });
}

function nameOf(node: NodePicture): string {
  return `${shortId(node.id)} (${formatAddress(node)})`;
}

export interface FailoverOptions {
  readonly environment: ToolEnvironment;
  readonly timeoutMs: number;
}

/** What is to be printed once the node is the writer. */
export async function failOver(
  camera: ClusterCamera,
  name: string,
  { environment, timeoutMs }: FailoverOptions,
): Promise<string> {
  const { clock } = environment;
  const picture = await camera.take();
  const node = findNode(picture, name);
  if (node.role === "writer") {
    const set = picture.sets.find(({ nodes }) => nodes.includes(node))!;
    const replicas = set.nodes.filter((each) => each !== node).map((each) => `  ${nameOf(each)}`);
    throw new ToolError(`${nameOf(node)} is the writer of its set already`, {
      hint: `Name the replica that is to be the writer:\n${replicas.join("\n")}`,
    });
  }
  const client = await camera.clientOf(node);
  const startMs = clock.monotonicMs();
  const error = errorOf(await client.request(["CLUSTER", "FAILOVER"]));
  if (error !== undefined)
    throw new ToolError(`${nameOf(node)} refuses: ${error}`, { exitCode: EXIT_FAILED });
  while (!(await isWriter(camera, node))) {
    if (clock.monotonicMs() - startMs > timeoutMs) {
      throw new ToolError(`${nameOf(node)} is not the writer after ${timeoutMs / 1000} s`, {
        hint: "It may still become so: look with `cluster status`. A replica that lags far behind does not take over.",
        exitCode: EXIT_FAILED,
      });
    }
    await pause(clock);
  }
  const took = Math.round(clock.monotonicMs() - startMs);
  return `${nameOf(node)} is the writer of its set now (${took} ms)\n`;
}

function pause(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.after(POLL_MS, resolve));
}

async function isWriter(camera: ClusterCamera, node: NodePicture): Promise<boolean> {
  const client = await camera.clientOf(node);
  const reply = await client.request(["INFO", "replication"]);
  return reply.includes("role:master");
}

/** What is to be printed once the cluster has forgotten the node. */
export async function forget(camera: ClusterCamera, name: string): Promise<string> {
  const picture = await camera.take();
  // A spare is in no set, and so in no picture.
  const node = WHOLE_ID.test(name) ? undefined : findNode(picture, name);
  if (node?.isReachable === true) {
    throw new ToolError(`${nameOf(node)} still runs`, {
      hint: "Stop it first (SIGTERM hands its role over), then forget it.",
      exitCode: EXIT_FAILED,
    });
  }
  const other = allNodes(picture).find(({ isReachable }) => isReachable);
  if (other === undefined) throw new ToolError("no node answers");
  const client = await camera.clientOf(other);
  const shown = node === undefined ? name : nameOf(node);
  const error = errorOf(await client.request(["CLUSTER", "FORGET", node?.id ?? name]));
  if (error === undefined) return `${shown} is forgotten\n`;
  throw new ToolError(`the cluster does not forget ${shown}: ${error}`, { exitCode: EXIT_FAILED });
}
