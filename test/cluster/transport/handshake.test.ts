import { describe, expect, test } from "bun:test";
import {
  FRAME_ACCEPT,
  FRAME_CHALLENGE,
  FRAME_HELLO,
  FRAME_PROOF,
  FRAME_REFUSAL,
} from "../../../src/cluster/transport/frame.ts";
import {
  AcceptorHandshake,
  DialerHandshake,
  encodeRefusal,
  type HandshakeOptions,
  type HandshakeStep,
} from "../../../src/cluster/transport/handshake.ts";
import { CLUSTER_ID, nodeId, SECRET } from "./transport-support.ts";

const A = nodeId("a");
const B = nodeId("b");

function options(node: string, changes: Partial<HandshakeOptions> = {}): HandshakeOptions {
  return {
    identity: { clusterId: CLUSTER_ID, nodeId: node, incarnation: 3 },
    secret: SECRET,
    windowBytes: 1000,
    nonce: new Uint8Array(32).fill(node === A ? 1 : 2),
    ...changes,
  };
}

function payloadOf(step: HandshakeStep): Uint8Array {
  if (step.kind === "reply") return step.payload;
  if (step.kind === "done") return step.reply!;
  throw new Error(`refused: ${step.reason}`);
}

/** Until one side refuses or both are done. */
function run(dialer: DialerHandshake, acceptor: AcceptorHandshake): HandshakeStep[] {
  const challenge = acceptor.step(FRAME_HELLO, dialer.hello);
  if (challenge.kind === "refused") return [challenge];
  const proof = dialer.step(FRAME_CHALLENGE, payloadOf(challenge));
  if (proof.kind === "refused") return [proof];
  const accept = acceptor.step(FRAME_PROOF, payloadOf(proof));
  if (accept.kind === "refused") return [accept];
  return [accept, dialer.step(FRAME_ACCEPT, payloadOf(accept))];
}

const dialerOf = (changes: Partial<HandshakeOptions> = {}) =>
  new DialerHandshake(options(A, changes), B, "bulk");
const acceptorOf = (changes: Partial<HandshakeOptions> = {}) =>
  new AcceptorHandshake(options(B, changes));

describe("the handshake", () => {
  test("tells both sides who the other is", () => {
    const [accept, done] = run(dialerOf(), acceptorOf());
    const common = { incarnation: 3, purpose: "bulk", windowBytes: 1000 };
    expect(accept).toMatchObject({ kind: "done", peer: { nodeId: A, ...common } });
    expect(done).toMatchObject({ kind: "done", peer: { nodeId: B, ...common } });
  });

  test("works without a secret on both sides, not on one", () => {
    const secret = new Uint8Array(0);
    expect(run(dialerOf({ secret }), acceptorOf({ secret }))).toHaveLength(2);
    expect(run(dialerOf({ secret }), acceptorOf())).toMatchObject([{ reason: "secret" }]);
    expect(run(dialerOf(), acceptorOf({ secret }))).toMatchObject([{ reason: "secret" }]);
  });

  test("refuses another cluster, another secret, and a node that was not meant", () => {
    const identity = { clusterId: "d".repeat(40), nodeId: A, incarnation: 1 };
    expect(run(dialerOf({ identity }), acceptorOf())).toMatchObject([{ reason: "cluster id" }]);
    const secret = Buffer.from("another");
    expect(run(dialerOf({ secret }), acceptorOf())).toMatchObject([{ reason: "secret" }]);
    const toC = new DialerHandshake(options(A), nodeId("c"), "bulk");
    expect(run(toC, acceptorOf())).toMatchObject([{ reason: "node id" }]);
  });

  test("refuses an acceptor that is another node, or that cannot prove itself", () => {
    const identity = { clusterId: CLUSTER_ID, nodeId: nodeId("c"), incarnation: 1 };
    const challenge = (acceptor: AcceptorHandshake, dialer: DialerHandshake) =>
      payloadOf(acceptor.step(FRAME_HELLO, dialer.hello));
    const dialer = dialerOf();
    const foreign = Buffer.from(challenge(acceptorOf(), dialer));
    foreign.write(identity.nodeId, 36, "hex");
    expect(dialer.step(FRAME_CHALLENGE, foreign)).toMatchObject({ reason: "node id" });
    const second = dialerOf();
    second.step(FRAME_CHALLENGE, challenge(acceptorOf(), second));
    expect(second.step(FRAME_ACCEPT, new Uint8Array(32))).toMatchObject({ reason: "secret" });
  });

  test("refuses what was recorded, and a proof of the other role", () => {
    const dialer = dialerOf();
    const first = acceptorOf();
    const proof = payloadOf(
      dialer.step(FRAME_CHALLENGE, payloadOf(first.step(FRAME_HELLO, dialer.hello))),
    );
    const accept = payloadOf(first.step(FRAME_PROOF, proof));
    const replayed = acceptorOf({ nonce: new Uint8Array(32).fill(9) });
    replayed.step(FRAME_HELLO, dialer.hello);
    expect(replayed.step(FRAME_PROOF, proof)).toMatchObject({ reason: "secret" });
    const reflected = acceptorOf();
    reflected.step(FRAME_HELLO, dialer.hello);
    expect(reflected.step(FRAME_PROOF, accept)).toMatchObject({ reason: "secret" });
  });

  test("refuses another version before it looks at anything else", () => {
    const hello = Uint8Array.of(2, 0);
    expect(acceptorOf().step(FRAME_HELLO, hello)).toMatchObject({ reason: "protocol version" });
  });

  test("refuses steps out of place and of another length", () => {
    expect(acceptorOf().step(FRAME_PROOF, new Uint8Array(32))).toMatchObject({ reason: "garbage" });
    expect(dialerOf().step(FRAME_ACCEPT, new Uint8Array(32))).toMatchObject({ reason: "garbage" });
    const { hello } = dialerOf();
    const short = acceptorOf().step(FRAME_HELLO, hello.subarray(0, hello.length - 1));
    expect(short).toMatchObject({ reason: "garbage" });
    const acceptor = acceptorOf();
    acceptor.step(FRAME_HELLO, hello);
    expect(acceptor.step(FRAME_HELLO, hello)).toMatchObject({ reason: "garbage" });
    expect(acceptor.step(FRAME_PROOF, new Uint8Array(0))).toMatchObject({ reason: "secret" });
  });

  test("a dialer hears why it was refused", () => {
    const step = dialerOf().step(FRAME_REFUSAL, encodeRefusal("incarnation"));
    expect(step).toMatchObject({ kind: "refused", reason: "incarnation", byPeer: true });
  });
});
