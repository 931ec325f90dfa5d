/** Handlers that remember, socket transports on loopback, and waiting for what a turn of the event loop brings. */
import { SystemClock } from "../../../src/base/clock.ts";
import type { LogFields, Logger } from "../../../src/base/logger.ts";
import {
  SocketTransport,
  type SocketTransportOptions,
} from "../../../src/cluster/transport/socket-transport.ts";
import {
  type IncomingMessage,
  type Link,
  type LinkHandlers,
  PURPOSES,
  type Transport,
} from "../../../src/cluster/transport/transport.ts";

export const CLUSTER_ID = "c".repeat(40);
export const SECRET = Buffer.from("a secret of the tests");

/** A node id that ends in `name`, in hexadecimal digits. */
export function nodeId(name: string): string {
  return name.padStart(40, "0");
}

export class RecordingHandlers implements LinkHandlers {
  readonly messages: string[] = [];
  readonly events: string[] = [];
  readonly ups: Link[] = [];
  drains = 0;
  onEach: ((message: IncomingMessage) => void) | undefined;

  onMessage(message: IncomingMessage): void {
    if (this.onEach !== undefined) {
      this.onEach(message);
      return;
    }
    const parts = message.parts.map((part) => Buffer.from(part).toString());
    this.messages.push(`${message.channel}:${parts.join("|")}`);
  }

  onUp(link: Link): void {
    this.ups.push(link);
    this.events.push(`up ${link.purpose}`);
  }

  onDown(link: Link, reason: string): void {
    this.events.push(`down ${link.purpose}: ${reason}`);
  }

  onDrain(): void {
    this.drains++;
  }
}

/** Outgoing and incoming links of all purposes. */
export function record(transport: Transport): { out: RecordingHandlers; in: RecordingHandlers } {
  const handlers = { out: new RecordingHandlers(), in: new RecordingHandlers() };
  const side = (link: Link) => (link.isOutgoing ? handlers.out : handlers.in);
  for (const purpose of PURPOSES) {
    transport.handle(purpose, {
      onMessage: (message) => side(message.link).onMessage(message),
      onUp: (link) => side(link).onUp(link),
      onDown: (link, reason) => side(link).onDown(link, reason),
      onDrain: (link) => side(link).onDrain(),
    });
  }
  return handlers;
}

export class RecordingLogger implements Logger {
  readonly lines: { fields: LogFields; message: string }[] = [];

  child(): Logger {
    return this;
  }
  debug(): void {}
  info(): void {}
  warn(fields: LogFields, message: string): void {
    this.lines.push({ fields, message });
  }
  error(fields: LogFields, message: string): void {
    this.lines.push({ fields, message });
  }

  get reasons(): unknown[] {
    return this.lines.map((line) => line.fields["reason"]);
  }
}

export interface SocketNode {
  readonly transport: SocketTransport;
  readonly logger: RecordingLogger;
  readonly out: RecordingHandlers;
  readonly in: RecordingHandlers;
  readonly id: string;
}

/** A node that listens on a port of the system's choice. */
export function startNode(
  name: string,
  changes: Partial<SocketTransportOptions> & { incarnation?: number; clusterId?: string } = {},
): SocketNode {
  const logger = new RecordingLogger();
  const { incarnation = 1, clusterId = CLUSTER_ID, ...options } = changes;
  const transport = new SocketTransport({
    identity: { clusterId, nodeId: nodeId(name), incarnation },
    secret: SECRET,
    address: { host: "127.0.0.1", port: 0 },
    clock: new SystemClock(),
    logger,
    random: {
      bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
      fraction: () => Math.random(),
    },
    onFatal: (error) => {
      throw error;
    },
    ...options,
  });
  const handlers = record(transport);
  transport.listen();
  return { transport, logger, ...handlers, id: nodeId(name) };
}

const DEADLINE_MS = 20_000;

/** Until `isSo`; how long that takes is not measured. */
export async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`it never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
