/**
 * What a node does for its clients after it has given its writer role away and before it ends: they are told where to go
 * rather than forwarded, and get the time for it. A connection that is closed under a command makes clients send it
 * again, to any node: a write may run twice, and a read come to a replica that is behind.
 */
import type { Clock } from "../base/clock.ts";
import type { CurrentTopology } from "../cluster/current-topology.ts";
import type { RoutingCounts } from "./routing.ts";

/** Clients have gone when none of them missed its slot for so long … */
const QUIET_MS = 200;
/** … or they do not go. */
const WAIT_MS_MAX = 2000;

export interface Departing {
  readonly id: string;
  readonly topology: CurrentTopology;
  readonly router: { readonly counts: RoutingCounts };
}

/** Resolves when no client asks any more for what the next writer has. */
export async function clientsGone(node: Departing, clock: Clock): Promise<void> {
  const deadline = clock.monotonicMs() + WAIT_MS_MAX;
  let misses = -1;
  while (clock.monotonicMs() < deadline) {
    const { redirects, forwards } = node.router.counts;
    const isFollowed = node.topology.value.setOf(node.id)?.writer !== undefined;
    if (isFollowed && redirects + forwards === misses) return;
    misses = redirects + forwards;
    await new Promise<void>((resolve) => clock.after(QUIET_MS, resolve));
  }
}
