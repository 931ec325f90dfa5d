/**
 * What is used of node-zookeeper-client 1.1.3, which comes without types: its client, and the parts inside that
 * zookeeper-session.ts replaces. The version is pinned exactly, since those parts are nobody's promise.
 */
declare module "node-zookeeper-client" {
  export interface Stat {
    readonly version: number;
    /** Eight bytes: the transaction that created the znode. */
    readonly czxid: Buffer;
    /** Eight bytes: the session that an ephemeral znode ends with, or 0. */
    readonly ephemeralOwner: Buffer;
  }

  export interface WatchEvent {
    readonly path: string;
  }

  export interface State {
    readonly name: string;
  }

  export interface Acl {
    readonly permission: number;
  }

  export interface TransactionResult {
    readonly type: number;
    readonly err?: number;
  }

  export interface TransactionOperation {
    readonly type: number;
    readonly path: string;
    readonly version?: number;
    readonly data?: Buffer;
    readonly acls?: readonly Acl[];
    readonly mode?: number;
  }

  export interface Transaction {
    readonly ops: TransactionOperation[];
    commit(
      callback: (error: Error | null | undefined, results?: TransactionResult[]) => void,
    ): void;
  }

  export interface Server {
    readonly host: string;
    readonly port: number;
  }

  /** `xid` is set when the request is sent, just before toBuffer(). */
  export interface Request {
    readonly header: { readonly type: number; xid: number };
    readonly payload: null;
    toBuffer(): Buffer;
  }

  export interface ConnectionManager {
    readonly socket?: { destroy(): void; readonly destroyed: boolean };
    pendingBuffer: Buffer | null;
    zxid: Buffer;
    readonly packetQueue: { queue: unknown[] };
    readonly watcherManager: {
      dataWatchers: Record<string, unknown>;
      childWatchers: Record<string, unknown>;
      existenceWatchers: Record<string, unknown>;
    };
    queue(request: Request, callback: (error: Error | null) => void): void;
    findNextServer(callback: (server: Server) => void): void;
    onSocketData(bytes: Buffer): void;
    onSocketTimeout(): void;
    onSocketConnectTimeout(): void;
  }

  type Watcher = (event: WatchEvent) => void;

  export interface Client {
    readonly connectionManager: ConnectionManager;
    connect(): void;
    on(event: "state", listener: (state: State) => void): void;
    getSessionTimeout(): number;
    addAuthInfo(scheme: string, auth: Buffer): void;
    transaction(): Transaction;
    exists(
      path: string,
      watcher: Watcher | undefined,
      callback: (error: Error | null, stat: Stat | null) => void,
    ): void;
    getData(
      path: string,
      watcher: Watcher | undefined,
      callback: (error: Error | null, data: Buffer | undefined, stat: Stat) => void,
    ): void;
    getChildren(
      path: string,
      watcher: Watcher | undefined,
      callback: (error: Error | null, names: string[]) => void,
    ): void;
  }

  export function createClient(
    connectionString: string,
    options: {
      readonly sessionTimeout: number;
      readonly spinDelay: number;
      readonly retries: number;
    },
  ): Client;
  export const State: Readonly<
    Record<"SYNC_CONNECTED" | "DISCONNECTED" | "EXPIRED" | "AUTH_FAILED", State>
  >;
  export const CreateMode: Readonly<Record<"PERSISTENT" | "EPHEMERAL", number>>;
  export const Exception: Readonly<Record<string, number>>;
  export const ACL: Readonly<Record<"OPEN_ACL_UNSAFE" | "CREATOR_ALL_ACL", readonly Acl[]>>;
}
