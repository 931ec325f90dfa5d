/**
 * A server that speaks just enough of ZooKeeper's protocol to misbehave: it takes sessions, or refuses them, and
 * answers every request with the error code and transaction that the test wants.
 *
 *     connect request:  length, protocol version, newest zxid (8), timeout, session (8), password
 *     request:          length, xid, type, …          reply: length, xid, zxid (8), error
 */
import * as net from "node:net";

export interface FakeReply {
  readonly zxid: bigint;
  readonly error: number;
}

const CONNECT_REPLY_BYTES = 36;
const REPLY_BYTES = 16;
const PASSWORD_BYTES = 16;

export class FakeZookeeper {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** As the client said in each of its connect requests. */
  readonly newestZxids: bigint[] = [];
  connections = 0;
  /** Says nothing to a client that connects. */
  isSilent = false;
  /** Answers the next connect request that the session has expired. */
  expiresNext = false;
  answer: (type: number) => FakeReply = () => ({ zxid: 1n, error: 0 });

  private constructor() {
    this.#server = net.createServer((socket) => this.#accept(socket));
  }

  static async start(): Promise<FakeZookeeper> {
    const fake = new FakeZookeeper();
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  stop(): void {
    this.cut();
    this.#server.close();
  }

  #accept(socket: net.Socket): void {
    this.connections++;
    this.#sockets.add(socket);
    let isOpen = false;
    let received = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("data", (bytes: Buffer) => {
      if (this.isSilent) return;
      received = Buffer.concat([received, bytes]);
      while (received.length >= 4 && received.length >= 4 + received.readInt32BE(0)) {
        const end = 4 + received.readInt32BE(0);
        const packet = received.subarray(4, end);
        received = received.subarray(end);
        socket.write(isOpen ? this.#replyTo(packet) : this.#open(packet));
        isOpen = true;
      }
    });
  }

  #open(packet: Buffer): Buffer {
    this.newestZxids.push(packet.readBigInt64BE(4));
    const reply = Buffer.alloc(4 + CONNECT_REPLY_BYTES);
    reply.writeInt32BE(CONNECT_REPLY_BYTES, 0);
    reply.writeInt32BE(this.expiresNext ? 0 : packet.readInt32BE(12), 8);
    reply.writeBigInt64BE(this.expiresNext ? 0n : 4711n, 12);
    reply.writeInt32BE(PASSWORD_BYTES, 20);
    this.expiresNext = false;
    return reply;
  }

  #replyTo(packet: Buffer): Buffer {
    const { zxid, error } = this.answer(packet.readInt32BE(4));
    const reply = Buffer.alloc(4 + REPLY_BYTES);
    reply.writeInt32BE(REPLY_BYTES, 0);
    reply.writeInt32BE(packet.readInt32BE(0), 4);
    reply.writeBigInt64BE(zxid, 8);
    reply.writeInt32BE(error, 16);
    return reply;
  }
}
