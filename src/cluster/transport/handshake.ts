/**
 * How a link begins. Each step is a frame of one part:
 *
 *     dialer                                         acceptor
 *       │── HELLO      who I am, whom I want, a nonce ──►│   another cluster, version or node: REFUSAL, closed
 *       │◄─ CHALLENGE  who I am, a nonce ────────────────│
 *       │── PROOF      HMAC("dialer" of both) ──────────►│   wrong: REFUSAL, closed
 *       │◄─ ACCEPT     HMAC("acceptor" of both) ─────────│   from here on messages
 *
 *     HELLO                                   CHALLENGE                          PROOF, ACCEPT    REFUSAL
 *        0  2  version 1                         0  2  version 1                   0 32  HMAC       0  1  index
 *        2  1  purpose, index in PURPOSES        2  2  zero                                            in REFUSALS
 *        3  1  zero                              4  4  window
 *        4  4  window, in bytes                  8  8  incarnation
 *        8  8  incarnation                      16 20  cluster id
 *       16 20  cluster id                       36 20  node id
 *       36 20  node id                          56 32  nonce
 *       56 20  node id of the acceptor
 *       76 32  nonce
 *
 * HMAC-SHA-256 is keyed by the cluster's secret, over the label, HELLO and CHALLENGE: it covers both nonces, so nothing
 * recorded can be played again, and both names, so nobody speaks for another. The dialer proves itself first: who only
 * connects learns nothing that a guess of the secret could be tried on. Without a secret the key is empty.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { assert } from "../../base/assert.ts";
import { FRAME_ACCEPT, FRAME_CHALLENGE, FRAME_HELLO, FRAME_PROOF, FRAME_REFUSAL } from "./frame.ts";
import { PURPOSES, type Purpose } from "./transport.ts";

export const HANDSHAKE_VERSION = 1;
export const NONCE_BYTES = 32;
/** No frame of a handshake is larger. */
export const HANDSHAKE_BYTES_MAX = 128;

const ID_BYTES = 20;
const HELLO_BYTES = 108;
const CHALLENGE_BYTES = 88;
const LABELS = { dialer: "dkv peer dialer\0", acceptor: "dkv peer acceptor\0" };

export const REFUSALS = [
  "garbage",
  "protocol version",
  "cluster id",
  "node id",
  "incarnation",
  "secret",
  "too many links",
] as const;
export type Refusal = (typeof REFUSALS)[number];

export interface Identity {
  /** 40 hexadecimal digits each. */
  readonly clusterId: string;
  readonly nodeId: string;
  readonly incarnation: number;
}

export interface HandshakeOptions {
  readonly identity: Identity;
  /** Empty: none. */
  readonly secret: Uint8Array;
  readonly windowBytes: number;
  readonly nonce: Uint8Array;
}

/** What the handshake has found out about the other side. */
export interface PeerIdentity {
  readonly nodeId: string;
  readonly incarnation: number;
  readonly purpose: Purpose;
  readonly windowBytes: number;
}

export type HandshakeStep =
  | { readonly kind: "reply"; readonly type: number; readonly payload: Uint8Array }
  /** The link may be used once `reply` was sent. */
  | { readonly kind: "done"; readonly peer: PeerIdentity; readonly reply?: Uint8Array }
  /** `isTold`: the other side is sent a REFUSAL. */
  | {
      readonly kind: "refused";
      readonly reason: Refusal;
      readonly isTold: boolean;
      readonly byPeer: boolean;
    };

export interface Handshake {
  step(type: number, payload: Uint8Array): HandshakeStep;
}

function refuse(reason: Refusal, isTold = true): HandshakeStep {
  return { kind: "refused", reason, isTold, byPeer: false };
}

/** The identity's fields, at `start`; returns the offset behind them. */
function writeIdentity(bytes: Buffer, start: number, options: HandshakeOptions): number {
  const { identity, windowBytes } = options;
  bytes.writeUInt32LE(windowBytes, start);
  bytes.writeBigUInt64LE(BigInt(identity.incarnation), start + 4);
  bytes.write(identity.clusterId, start + 12, "hex");
  bytes.write(identity.nodeId, start + 12 + ID_BYTES, "hex");
  return start + 12 + 2 * ID_BYTES;
}

function readId(bytes: Buffer, start: number): string {
  return bytes.toString("hex", start, start + ID_BYTES);
}

/** Why the first step of the other side cannot be answered; undefined when it can. */
function findMismatch(bytes: Buffer, length: number, identity: Identity): Refusal | undefined {
  if (bytes.length < 2) return "garbage";
  if (bytes.readUInt16LE(0) !== HANDSHAKE_VERSION) return "protocol version";
  if (bytes.length !== length || bytes.readBigUInt64LE(8) > Number.MAX_SAFE_INTEGER)
    return "garbage";
  return readId(bytes, 16) === identity.clusterId ? undefined : "cluster id";
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function prove(
  role: keyof typeof LABELS,
  secret: Uint8Array,
  hello: Uint8Array,
  challenge: Uint8Array,
): Buffer {
  return createHmac("sha256", secret).update(LABELS[role]).update(hello).update(challenge).digest();
}

function isEqual(proof: Uint8Array, expected: Buffer): boolean {
  return proof.length === expected.length && timingSafeEqual(proof, expected);
}

/** The side that connects. It sends `hello` first. */
export class DialerHandshake implements Handshake {
  readonly hello: Uint8Array;
  readonly #options: HandshakeOptions;
  readonly #purpose: Purpose;
  readonly #peer: string;
  #challenge: Buffer | undefined;

  constructor(options: HandshakeOptions, peer: string, purpose: Purpose) {
    assert(options.nonce.length === NONCE_BYTES, "a nonce of another length");
    this.#options = options;
    this.#peer = peer;
    this.#purpose = purpose;
    const hello = Buffer.alloc(HELLO_BYTES);
    hello.writeUInt16LE(HANDSHAKE_VERSION, 0);
    hello[2] = PURPOSES.indexOf(purpose);
    const at = writeIdentity(hello, 4, options);
    hello.write(peer, at, "hex");
    hello.set(options.nonce, at + ID_BYTES);
    this.hello = hello;
  }

  step(type: number, payload: Uint8Array): HandshakeStep {
    const bytes = asBuffer(payload);
    if (type === FRAME_REFUSAL) {
      const reason = REFUSALS[bytes[0] ?? 0] ?? "garbage";
      return { kind: "refused", reason, isTold: false, byPeer: true };
    }
    if (type === FRAME_CHALLENGE && this.#challenge === undefined) return this.#prove(bytes);
    if (type === FRAME_ACCEPT && this.#challenge !== undefined)
      return this.#accept(bytes, this.#challenge);
    return refuse("garbage", false);
  }

  #prove(challenge: Buffer): HandshakeStep {
    const { identity, secret } = this.#options;
    const mismatch = findMismatch(challenge, CHALLENGE_BYTES, identity);
    if (mismatch !== undefined) return refuse(mismatch, false);
    if (readId(challenge, 36) !== this.#peer) return refuse("node id", false);
    this.#challenge = Buffer.from(challenge);
    const payload = prove("dialer", secret, this.hello, challenge);
    return { kind: "reply", type: FRAME_PROOF, payload };
  }

  #accept(proof: Buffer, challenge: Buffer): HandshakeStep {
    const expected = prove("acceptor", this.#options.secret, this.hello, challenge);
    if (!isEqual(proof, expected)) return refuse("secret", false);
    const peer = {
      nodeId: this.#peer,
      incarnation: Number(challenge.readBigUInt64LE(8)),
      purpose: this.#purpose,
      windowBytes: challenge.readUInt32LE(4),
    };
    return { kind: "done", peer };
  }
}

/** The side that is connected to. */
export class AcceptorHandshake implements Handshake {
  readonly #options: HandshakeOptions;
  readonly #challenge: Buffer;
  #hello: Buffer | undefined;

  constructor(options: HandshakeOptions) {
    assert(options.nonce.length === NONCE_BYTES, "a nonce of another length");
    this.#options = options;
    this.#challenge = Buffer.alloc(CHALLENGE_BYTES);
    this.#challenge.writeUInt16LE(HANDSHAKE_VERSION, 0);
    const at = writeIdentity(this.#challenge, 4, options);
    this.#challenge.set(options.nonce, at);
  }

  step(type: number, payload: Uint8Array): HandshakeStep {
    const bytes = asBuffer(payload);
    if (type === FRAME_HELLO && this.#hello === undefined) return this.#challengePeer(bytes);
    if (type === FRAME_PROOF && this.#hello !== undefined) return this.#accept(bytes, this.#hello);
    return refuse("garbage");
  }

  #challengePeer(hello: Buffer): HandshakeStep {
    const { identity } = this.#options;
    const mismatch = findMismatch(hello, HELLO_BYTES, identity);
    if (mismatch !== undefined) return refuse(mismatch);
    if (PURPOSES[hello[2]!] === undefined || hello[3] !== 0) return refuse("garbage");
    const isForMe = readId(hello, 56) === identity.nodeId;
    if (!isForMe || readId(hello, 36) === identity.nodeId) return refuse("node id");
    this.#hello = Buffer.from(hello);
    return { kind: "reply", type: FRAME_CHALLENGE, payload: this.#challenge };
  }

  #accept(proof: Buffer, hello: Buffer): HandshakeStep {
    const { secret } = this.#options;
    if (!isEqual(proof, prove("dialer", secret, hello, this.#challenge))) return refuse("secret");
    const peer = {
      nodeId: readId(hello, 36),
      incarnation: Number(hello.readBigUInt64LE(8)),
      purpose: PURPOSES[hello[2]!]!,
      windowBytes: hello.readUInt32LE(4),
    };
    return { kind: "done", peer, reply: prove("acceptor", secret, hello, this.#challenge) };
  }
}

export function encodeRefusal(reason: Refusal): Uint8Array {
  return Uint8Array.of(REFUSALS.indexOf(reason));
}
