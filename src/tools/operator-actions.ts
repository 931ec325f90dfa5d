/** What `cluster failover` and `cluster forget` do. */
import type { Clock } from "../base/clock.ts";
import { findNode, nodeName } from "./cluster-names.ts";
import { allNodes, type ClusterCamera, type NodePicture } from "./cluster-picture.ts";
import type { ToolEnvironment } from "./environment.ts";
import { errorOf } from "./resp-client.ts";
import { EXIT_FAILED, ToolError } from "./tool-error.ts";

const POLL_MS = 20;
const WHOLE_ID = /^[0-9a-f]{40}$/;

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
    const replicas = set.nodes.filter((each) => each !== node).map((each) => `  ${nodeName(each)}`);
    throw new ToolError(`${nodeName(node)} is the writer of its set already`, {
      hint: `Name the replica that is to be the writer:\n${replicas.join("\n")}`,
    });
  }
  const client = await camera.clientOf(node);
  const startMs = clock.monotonicMs();
  const error = errorOf(await client.request(["CLUSTER", "FAILOVER"], timeoutMs));
  if (error !== undefined)
    throw new ToolError(`${nodeName(node)} refuses: ${error}`, { exitCode: EXIT_FAILED });
  while (!(await isWriter(camera, node))) {
    if (clock.monotonicMs() - startMs > timeoutMs) {
      throw new ToolError(`${nodeName(node)} is not the writer after ${timeoutMs / 1000} s`, {
        hint: "It may still become so: look with `cluster status`. A replica that lags far behind does not take over.",
        exitCode: EXIT_FAILED,
      });
    }
    await pause(clock);
  }
  const took = Math.round(clock.monotonicMs() - startMs);
  return `${nodeName(node)} is the writer of its set now (${took} ms)\n`;
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
    throw new ToolError(`${nodeName(node)} still runs`, {
      hint: "Stop it first (SIGTERM hands its role over), then forget it.",
      exitCode: EXIT_FAILED,
    });
  }
  const other = allNodes(picture).find(({ isReachable }) => isReachable);
  if (other === undefined) throw new ToolError("no node answers");
  const client = await camera.clientOf(other);
  const shown = node === undefined ? name : nodeName(node);
  const error = errorOf(await client.request(["CLUSTER", "FORGET", node?.id ?? name]));
  if (error === undefined) return `${shown} is forgotten\n`;
  throw new ToolError(`the cluster does not forget ${shown}: ${error}`, { exitCode: EXIT_FAILED });
}
