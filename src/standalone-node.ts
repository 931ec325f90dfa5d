/** A node by itself: a store and its server. */
import {
  BudgetKeeper,
  type NodeParts,
  type RunningNode,
  serverOptions,
  storeOptions,
} from "./node-parts.ts";
import { Server } from "./server/server.ts";
import { openStore } from "./store/open-store.ts";

const STORE_RANDOM_BYTES = 24;

export async function startStandalone(parts: NodeParts): Promise<RunningNode> {
  const { clock, logger, random } = parts;
  let server: Server | undefined;
  const startMs = clock.monotonicMs();
  const { store, recovery } = await openStore({
    ...storeOptions(parts),
    random: random(STORE_RANDOM_BYTES),
    onCommitted: () => server?.onCommitted(),
  });
  const ms = Math.round(clock.monotonicMs() - startMs);
  logger.child("server").info({ ...recovery, ms }, "recovered");
  const keeper = new BudgetKeeper(parts, store);
  const listening = new Server({ ...serverOptions(parts), store });
  server = listening;
  listening.listen();
  return {
    server: listening,
    port: listening.port,
    async stop() {
      keeper.stop();
      await listening.stop();
      await store.close();
    },
  };
}
