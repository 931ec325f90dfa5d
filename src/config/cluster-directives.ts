/** The directives of a cluster's node (directives.ts has the others). All times are in milliseconds. */
import { fixed, settable } from "./directive.ts";
import { choice, integer, type Kind, memory, text, yesNo } from "./kinds.ts";

const PORT = { min: 0, max: 65_535 };
/** As many nodes as the document of a replica set holds. */
const COPIES = { min: 1, max: 32 };
const SETS_MAX = 1024;
const HOST = /^[A-Za-z0-9_.:-]{1,255}$/;
const SECRET_CHARACTERS_MIN = 16;
const CREDENTIALS = /^[^:\s]+:\S+$/;

/** What the documents of a cluster can hold as the address of a node. */
function host(label: string): Kind<string> {
  const kind = text(label);
  return {
    ...kind,
    parse(args, previous) {
      const parsed = kind.parse(args, previous);
      if ("error" in parsed || parsed.value === "" || HOST.test(parsed.value)) return parsed;
      return { error: "argument must be an address or a host name" };
    },
  };
}

function secret(): Kind<string> {
  const kind = text();
  return {
    ...kind,
    parse(args, previous) {
      const parsed = kind.parse(args, previous);
      if ("error" in parsed || parsed.value === "") return parsed;
      if (parsed.value.length >= SECRET_CHARACTERS_MIN) return parsed;
      return { error: `argument must have at least ${SECRET_CHARACTERS_MIN} characters` };
    },
  };
}

function credentials(): Kind<string> {
  const kind = text();
  return {
    ...kind,
    parse(args, previous) {
      const parsed = kind.parse(args, previous);
      if ("error" in parsed || parsed.value === "" || CREDENTIALS.test(parsed.value)) return parsed;
      return { error: "argument must be user:password" };
    },
  };
}

export const CLUSTER = {
  "cluster-enabled": fixed("cluster", yesNo(), {
    default: "no",
    help: "Be a node of a cluster; `zookeeper` says which.",
  }),
  zookeeper: fixed("cluster", text("host:port[,host:port…][/path]"), {
    default: "",
    help: "Servers of the ZooKeeper ensemble that coordinates the cluster, and the path of the cluster there.",
  }),
  "zookeeper-auth": fixed("cluster", credentials(), {
    default: "",
    isSecret: true,
    help: "user:password for ZooKeeper's digest scheme. Documents are made so that only this user may read or change them; all nodes need the same. Empty: whoever reaches the ensemble may.",
  }),
  "peer-port": fixed("cluster", integer(PORT, "integer, 0 = automatic"), {
    default: "0",
    help: "TCP port for the other nodes. Automatic: port + 10000.",
  }),
  "replication-factor": fixed("cluster", integer(COPIES), {
    default: "3",
    help: "Copies of the data, the writer's included. 1: no replicas, so a lost disk is lost data.",
  }),
  "write-quorum": fixed("cluster", integer(COPIES), {
    default: "2",
    help: "Copies that must hold a write before it is answered, the writer's included; at most replication-factor. 1: a write that was answered can be lost with its writer.",
  }),
  "cluster-initial-sets": fixed("cluster", integer({ min: 1, max: SETS_MAX }), {
    default: "1",
    help: "Replica sets among which the slots are divided when the cluster is made.",
  }),
  "cluster-redirect": settable("cluster", choice("auto", "moved", "forward"), {
    default: "auto",
    help: "What happens to a command whose slot another node owns. `forward`: that node executes it, and this one relays the reply. `moved`: the client is told to go there. `auto`: connections that named themselves (HELLO 3, CLIENT SETINFO LIB-NAME) are forwarded, the others are told once per slot and then forwarded for a second; a library name with crc32 in it is always told.",
  }),
  "cluster-lease": fixed("cluster", integer({ min: 50, max: 60_000 }), {
    default: "500",
    help: "Milliseconds for which replicas let their writer serve reads without asking them. A failover waits at least so long.",
  }),
  "read-mode": settable("cluster", choice("lease", "quorum"), {
    default: "lease",
    help: "How a writer makes sure that its reads are the newest. `lease`: replicas have promised it for a while. `quorum`: it asks them each time, so that not even a clock that runs wrong makes a read stale.",
  }),
  "replica-serve-stale-data": settable("cluster", yesNo(), {
    default: "no",
    help: "Whether a replica that does not hear its writer answers READONLY connections. `no`: it forwards their reads to the next writer, as soon as there is one. Client libraries repeat commands at such connections when a writer fails.",
  }),
  "cluster-quorum-timeout": settable("cluster", integer({ min: 100, max: 600_000 }), {
    default: "5000",
    help: "Milliseconds that a command waits for its quorum. Then a write that was not begun answers NOREPLICAS, one that was begun UNKNOWN, and a read TRYAGAIN.",
  }),
  "cluster-checkpoint-rate": settable("cluster", memory({ min: 0, max: 2 ** 40 }), {
    default: "64mb",
    help: "Bytes a second at which a writer sends its tables to a node that is empty, or too far behind for the log that is kept; 0 = as fast as it goes, and at least 256 KiB. One node gets them at a time.",
  }),
  "cluster-auto-rebalance": settable("cluster", yesNo(), {
    default: "no",
    help: "As soon as there are replication-factor spares, they form one more replica set, and it gets its share of the slots.",
  }),
  "cluster-move-rate": settable("cluster", memory({ min: 0, max: 2 ** 40 }), {
    default: "64mb",
    help: "Bytes a second at which a writer sends keys of slots that move to another replica set; 0 = as fast as it goes.",
  }),
  "cluster-zookeeper-session-timeout": fixed("cluster", integer({ min: 1000, max: 600_000 }), {
    default: "10000",
    help: "Milliseconds after which the ensemble gives a silent node up.",
  }),
  "cluster-secret": fixed("cluster", secret(), {
    default: "",
    isSecret: true,
    help: `Shared by all nodes, which prove to each other that they know it; at least ${SECRET_CHARACTERS_MIN} characters. Empty: whoever reaches the peer port is taken for a node.`,
  }),
  "cluster-secret-file": fixed("cluster", text("path"), {
    default: "",
    help: "File with the cluster-secret, instead of it.",
  }),
  "cluster-announce-ip": fixed("cluster", host("address"), {
    default: "",
    help: "Address that clients and nodes are told. Empty: the one that this node finds on its interfaces.",
  }),
  "cluster-announce-hostname": fixed("cluster", host("host name"), {
    default: "",
    help: "Host name that clients are told besides the address.",
  }),
  "cluster-announce-port": fixed("cluster", integer(PORT, "integer, 0 = automatic"), {
    default: "0",
    help: "Port that clients are told. Automatic: port.",
  }),
  "cluster-announce-peer-port": fixed("cluster", integer(PORT, "integer, 0 = automatic"), {
    default: "0",
    help: "Port that nodes are told. Automatic: peer-port.",
  }),
};
