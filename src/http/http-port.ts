/**
 * The HTTP port: what monitoring, probes and small scripts ask for.
 *
 *     /metrics             Prometheus            /livez /readyz /healthz   probes, open to everybody
 *     /cluster             the topology, JSON    /kv/<key>                 values (kv-interface.ts)
 *
 * It listens before the node has recovered, so that a probe can tell a start that takes long from one that has died:
 * until serve() all but the probes is answered with LOADING, after drain() with 503.
 */

import { AssertionError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { StartupError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/config.ts";
import { listenAddresses } from "../server/network.ts";
import type { Server } from "../server/server.ts";
import { refuseAccess } from "./access.ts";
import { clusterView } from "./cluster-view.ts";
import { decodeKey, serveKv } from "./kv-interface.ts";
import { LOADING_TEXT, Metrics } from "./metrics.ts";
import { whyNotReady } from "./readiness.ts";
import { errorResponse, textResponse } from "./text-response.ts";

export interface HttpPortOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A bug: the process must end. */
  onFatal(error: Error): void;
}

interface Caller {
  readonly address: string;
  readonly port: number;
}

/** A client that neither reads nor sends for so long is disconnected. Longer than a forwarded command may take. */
const IDLE_SECONDS = 60;
/** Bodies are bounded by their declared length, which is looked at before they are read. */
const BODY_BYTES_MAX = 2 ** 40;
const DRAIN_MS_MAX = 5000;
const DRAIN_POLL_MS = 5;
const KV_PREFIX = "/kv/";
const LOADING = "LOADING dkv is loading the dataset in memory";
const STOPPING = "LOADING the server is stopping";
const INDEX = `/metrics   /cluster   /kv/<key>   /livez   /readyz`;

export class HttpPort {
  readonly #options: HttpPortOptions;
  readonly #listeners: Bun.Server<undefined>[] = [];
  readonly #metrics = new Metrics();
  #server: Server | undefined = undefined;
  #isStopping = false;
  /** Requests that use the server. */
  #active = 0;

  /** Listens. Throws StartupError when an address cannot be used. */
  constructor(options: HttpPortOptions) {
    this.#options = options;
    const { config } = options;
    const port = config.get("http-port");
    const own = config.get("http-bind");
    for (const address of listenAddresses(own.length === 0 ? config.get("bind") : own)) {
      try {
        this.#listeners.push(this.#listenOn(address.hostname, port));
      } catch (cause) {
        if (address.isOptional) continue;
        const reason = (cause as Error).message;
        throw new StartupError(
          `cannot listen on ${address.hostname}:${port}: ${reason}. Is another server using the port? See http-port`,
          { cause },
        );
      }
    }
  }

  get port(): number {
    return this.#listeners[0]!.port!;
  }

  /** The node can be asked from now on. */
  serve(server: Server): void {
    this.#server = server;
  }

  /** Nothing new is begun from now on; done when what was begun has been answered, or has taken too long. */
  async drain(): Promise<void> {
    this.#isStopping = true;
    const { clock } = this.#options;
    const deadline = clock.monotonicMs() + DRAIN_MS_MAX;
    while (this.#active > 0 && clock.monotonicMs() < deadline)
      await new Promise<void>((resolve) => clock.after(DRAIN_POLL_MS, resolve));
  }

  /** Ends all connections. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#listeners.map((listener) => listener.stop(true)));
  }

  #listenOn(hostname: string, port: number): Bun.Server<undefined> {
    return Bun.serve({
      hostname,
      port,
      idleTimeout: IDLE_SECONDS,
      maxRequestBodySize: BODY_BYTES_MAX,
      development: false,
      fetch: (request, listener) => {
        const remote = listener.requestIP(request);
        return this.#answer(request, { address: remote?.address ?? "", port: remote?.port ?? 0 });
      },
      error: (error) => this.#failed(error),
    });
  }

  #failed(error: Error): Response {
    if (error instanceof AssertionError) this.#options.onFatal(error);
    this.#options.logger.warn({ error }, "a request over HTTP has failed");
    return textResponse(500, "ERR internal error");
  }

  #answer(request: Request, caller: Caller): Response | Promise<Response> {
    // Always absolute, and without dot segments: the runtime has made it so.
    const path = request.url.slice(request.url.indexOf("/", "https://".length));
    const probe = this.#probe(path);
    if (probe !== undefined) return probe;
    const refusal = refuseAccess(this.#options.config, request.headers, caller.address);
    if (refusal !== undefined) return refusal;
    if (path === "/metrics") return this.#showMetrics();
    if (path === "/") return textResponse(200, INDEX);
    if (path !== "/cluster" && !path.startsWith(KV_PREFIX))
      return textResponse(404, `ERR there is ${INDEX}`);
    if (this.#server === undefined) return errorResponse(LOADING);
    if (this.#isStopping) return errorResponse(STOPPING);
    if (path === "/cluster") return Response.json(clusterView(this.#server.context));
    return this.#serveKv(this.#server, request, path.slice(KV_PREFIX.length), caller);
  }

  #whyNotReady(): string | undefined {
    if (this.#isStopping) return "stopping";
    return this.#server === undefined ? "loading" : whyNotReady(this.#server.context);
  }

  #probe(path: string): Response | undefined {
    if (path === "/livez") return textResponse(200, "ok");
    if (path !== "/readyz" && path !== "/healthz") return undefined;
    const reason = this.#whyNotReady();
    return reason === undefined ? textResponse(200, "ok") : textResponse(503, reason);
  }

  async #showMetrics(): Promise<Response> {
    const headers = { "content-type": this.#metrics.contentType };
    if (this.#server === undefined) return new Response(LOADING_TEXT, { headers });
    const isReady = this.#whyNotReady() === undefined;
    return new Response(await this.#metrics.text(this.#server.context, isReady), { headers });
  }

  async #serveKv(
    server: Server,
    request: Request,
    encodedKey: string,
    caller: Caller,
  ): Promise<Response> {
    if (encodedKey.includes("?"))
      return textResponse(400, "ERR queries are not used here: write ? in a key as %3F");
    const key = decodeKey(encodedKey);
    if (key === undefined) return textResponse(400, "ERR the key is not percent-encoded");
    const { config, store } = server.context;
    if (this.#active >= config.get("maxclients"))
      return errorResponse("TRYAGAIN max number of clients reached");
    const valueBytesMax = Math.min(config.get("proto-max-bulk-len"), store.valueBytesMax);
    this.#active++;
    const client = server.localClient(caller.address, caller.port, () => this.#active--);
    return await serveKv({ request, key, client, valueBytesMax });
  }
}
