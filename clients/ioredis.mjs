/**
 * ioredis's Cluster for dkv: every command goes to the node that has its key, without a redirect and without being
 * forwarded. Stock ioredis computes Redis's slot of a key, which is not dkv's, and so misses the owner mostly.
 *
 *     import { Cluster } from "dkv/clients/ioredis";
 *     const redis = new Cluster([{ host: "10.0.0.1", port: 6379 }], { scaleReads: "slave" });
 *
 * What differs from ioredis:
 * - It calls itself `crc32` in CLIENT SETINFO LIB-NAME, so that nodes tell it where slots have gone (MOVED) instead of
 *   forwarding its commands. A MOVED is learned at once, and the whole map read again behind it.
 * - A pipeline may have keys of several nodes: each of its commands goes to its own and follows its own redirects.
 *   MULTI … EXEC goes to one node, the owner of its first key.
 * - Commands of one tick leave in one write per node. `enableAutoPipelining` would add nothing and is off.
 *
 * Keys of one command still lie in one slot: give them a {hash tag}.
 */
import { Cluster as StockCluster } from "ioredis";
import { CLIENT_SLOTS, clientSlotOf } from "./slot.mjs";

const NAME = "crc32";

function withName(options) {
  const { redisOptions = {} } = options;
  const tag = redisOptions.clientInfoTag;
  const clientInfoTag = tag === undefined || tag.includes(NAME) ? (tag ?? NAME) : `${tag}-${NAME}`;
  return {
    ...options,
    enableAutoPipelining: false,
    redisOptions: { ...redisOptions, clientInfoTag, disableClientInfo: false },
  };
}

/** The first key of the first command that has one. */
function firstKeyOf(commands) {
  for (const command of commands) {
    const [key] = command.getKeys();
    if (key !== undefined) return key;
  }
  return undefined;
}

export class Cluster extends StockCluster {
  #isCorked = false;

  constructor(startupNodes, options = {}) {
    super(startupNodes, withName(options));
  }

  duplicate(startupNodes = [], options = {}) {
    const nodes = startupNodes.length > 0 ? startupNodes : [...this.startupNodes];
    const redisOptions = { ...this.options.redisOptions, ...options.redisOptions };
    return new Cluster(nodes, { ...this.options, ...options, redisOptions });
  }

  sendCommand(command, stream, node) {
    // ioredis asks the command for its slot, which a command computes unless it has one.
    if (node === undefined) {
      const [key] = command.getKeys();
      if (key !== undefined) command.slot = clientSlotOf(key);
    }
    this.#cork();
    return super.sendCommand(command, stream, node);
  }

  pipeline(commands) {
    return this.#route(super.pipeline(commands));
  }

  multi(commands, options) {
    const pipeline = super.multi(commands, options);
    return pipeline?.isPipeline === true ? this.#route(pipeline) : pipeline;
  }

  handleError(error, ttl, handlers) {
    const moved = (slot, address) => handlers.moved(this.#learn(slot, address), address);
    return super.handleError(error, ttl, { ...handlers, moved });
  }

  /** What is written until the end of the tick leaves together. */
  #cork() {
    if (this.#isCorked) return;
    this.#isCorked = true;
    const streams = this.nodes()
      .map((redis) => redis.stream)
      .filter((stream) => typeof stream?.cork === "function");
    for (const stream of streams) stream.cork();
    process.nextTick(() => {
      this.#isCorked = false;
      for (const stream of streams) stream.uncork();
    });
  }

  /** Notes who has a slot of dkv; its first client slot. */
  #learn(slot, address) {
    const first = slot * CLIENT_SLOTS;
    // ioredis writes into the list of the slot's nodes, which all slots of a range share.
    for (let each = first; each < first + CLIENT_SLOTS; each++) this.slots[each] = [address];
    return first;
  }

  #route(pipeline) {
    const exec = pipeline.exec;
    pipeline.exec = (callback) => {
      const isConnected = this.slots.length > 0;
      const isTransaction = pipeline._queue[0]?.name === "multi" || pipeline._transactions > 0;
      if (isConnected && !isTransaction) return this.#sendEach(pipeline, callback);
      if (isConnected) this.#pin(pipeline);
      return exec.call(pipeline, callback);
    };
    return pipeline;
  }

  /** Sends a transaction to the owner of its first key. */
  #pin(pipeline) {
    const key = firstKeyOf(pipeline._queue);
    if (key !== undefined) pipeline.preferKey ??= this.slots[clientSlotOf(key)]?.[0];
  }

  /** Sends each command by itself; the pipeline gathers the replies. */
  #sendEach(pipeline, callback) {
    if (callback !== undefined)
      pipeline.promise.then((replies) => callback(null, replies), callback);
    // Else it would follow a redirect as a whole, once more.
    pipeline.isCluster = false;
    pipeline.replyPending = pipeline._queue.length;
    if (pipeline._queue.length === 0) pipeline.resolve([]);
    for (const command of pipeline._queue) this.sendCommand(command);
    return pipeline.promise;
  }
}
