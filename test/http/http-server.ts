/** dkv with its HTTP port, as a process, for tests. */
import { join } from "node:path";
import { decodeReply, encodeRequest, RawConnection } from "../support/raw-connection.ts";
import { type ServerProcess, startServer } from "../support/server-process.ts";
import { freePort } from "../support/zookeeper.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

export class HttpServer {
  readonly httpPort: number;
  readonly #process: ServerProcess;

  private constructor(httpPort: number, process: ServerProcess) {
    this.httpPort = httpPort;
    this.#process = process;
  }

  static async start(...flags: string[]): Promise<HttpServer> {
    const httpPort = freePort();
    const process = await startServer((port, directory) => [
      ...["bun", MAIN, "--port", `${port}`, "--dir", directory, "--bind", "127.0.0.1"],
      ...["--http-port", `${httpPort}`, "--maxmemory", "256mb", "--loglevel", "warning"],
      ...flags,
    ]);
    return new HttpServer(httpPort, process);
  }

  get port(): number {
    return this.#process.port;
  }

  fetch(path: string, options: RequestInit = {}): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.httpPort}${path}`, options);
  }

  async text(path: string, options: RequestInit = {}): Promise<string> {
    return await (await this.fetch(path, options)).text();
  }

  /** One command over RESP. */
  async ask(...words: string[]) {
    const connection = await RawConnection.open(this.port);
    try {
      connection.send(encodeRequest(words));
      return decodeReply((await connection.reply())!, 0)[0];
    } finally {
      connection.close();
    }
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}
