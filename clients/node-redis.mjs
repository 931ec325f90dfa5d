/**
 * node-redis's createCluster for dkv: every command goes to the node that has its key, without a redirect and without
 * being forwarded. Stock node-redis computes Redis's slot of a key, which is not dkv's, and so misses the owner mostly.
 *
 *     import { createCluster } from "dkv/clients/node-redis";
 *     const client = createCluster({ rootNodes: [{ url: "redis://10.0.0.1:6379" }], useReplicas: true });
 *     await client.connect();
 *
 * What differs from node-redis:
 * - It calls itself `crc32` in CLIENT SETINFO LIB-NAME, so that nodes tell it where slots have gone (MOVED) instead of
 *   forwarding its commands.
 * - Commands of several keys that node-redis splits (MGET, MSET, DEL, UNLINK, EXISTS, TOUCH) are split by dkv's slots.
 * - `multi().execAsPipeline()` may have keys of several nodes: each command goes to its own.
 *   `multi().exec()` goes to one node, the owner of its first key.
 * - A node that does not answer makes it read the map again at once, not after five seconds.
 *
 * Other clients of node-redis in the same process are as before.
 */
import { createRequire } from "node:module";
import { createCluster as createStockCluster } from "redis";
import { clientSlotOf } from "./slot.mjs";

const NAME = "crc32";

const require = createRequire(createRequire(import.meta.url).resolve("redis"));
const hash = require("@redis/client/dist/lib/utils/calculate-slot");
const { BasicCommandParser } = require("@redis/client/dist/lib/client/parser");

/** node-redis splits commands by a function of its own, not of the cluster: dkv's while one of ours asks for it. */
let isOurs = false;
const stockHash = hash.default;
hash.default = Object.assign((key) => (isOurs ? clientSlotOf(key) : stockHash(key)), stockHash);

/** REQUIRES: what `run` needs of it happens before it returns. */
function withOurHash(run) {
  isOurs = true;
  try {
    return run();
  } finally {
    isOurs = false;
  }
}

function withName(options) {
  const { defaults = {} } = options;
  const tag = defaults.clientInfoTag;
  const clientInfoTag = tag === undefined || tag.includes(NAME) ? (tag ?? NAME) : `${tag}-${NAME}`;
  return {
    topologyRefreshOnReconnectionAttemptStrategy: 1,
    ...options,
    defaults: { ...defaults, clientInfoTag, disableClientInfo: false },
  };
}

/** Clients of nodes by dkv's slots. */
function routeByKey(slots) {
  const nodeOf = (slot, isReadonly) =>
    isReadonly ? slots.getSlotRandomNode(slot) : slots.slots[slot].master;
  const stockGet = slots.getClientAndSlotNumber;
  slots.getClientAndSlotNumber = async (key, isReadonly) => {
    if (key === undefined || !slots.isReady) return stockGet.call(slots, key, isReadonly);
    const slotNumber = clientSlotOf(key);
    return { client: await slots.nodeClient(nodeOf(slotNumber, isReadonly)), slotNumber };
  };
  slots.getClientForKey = (key, isReadonly) =>
    slots.nodeClient(nodeOf(clientSlotOf(key), isReadonly));
}

function parserOf(firstKey) {
  const parser = new BasicCommandParser();
  if (firstKey !== undefined) parser.markRoutingKey(firstKey);
  return parser;
}

/** Queues of commands that know the key of each, so that a pipeline can send each to its owner. */
function queueClass(cluster, Stock) {
  return class extends Stock {
    #routes = new WeakMap();

    constructor(executeMulti, _executePipeline, ...others) {
      super(executeMulti, (_key, _isReadonly, commands) => this.#sendEach(commands), ...others);
    }

    addCommand(firstKey, isReadonly, args, transformReply) {
      this.#routes.set(args, { firstKey, isReadonly });
      return super.addCommand(firstKey, isReadonly, args, transformReply);
    }

    #sendEach(commands) {
      const sends = commands.map(({ args }) => {
        const { firstKey, isReadonly } = this.#routes.get(args) ?? {};
        const send = (client, options) => client.sendCommand(args, options);
        return cluster._execute(parserOf(firstKey), isReadonly, undefined, send);
      });
      return Promise.all(sends);
    }
  };
}

/** Makes one instance of node-redis's cluster a client of dkv. */
function adapt(cluster) {
  const self = cluster._self;
  routeByKey(self._slots);
  self.Multi = queueClass(self, self.Multi);
  const { _executeWithPolicies, duplicate } = self;
  self._executeWithPolicies = (...args) =>
    withOurHash(() => _executeWithPolicies.apply(self, args));
  self.duplicate = (...args) => adapt(duplicate.apply(self, args));
  return cluster;
}

/** Options are node-redis's. */
export function createCluster(options) {
  return adapt(createStockCluster(withName(options)));
}
