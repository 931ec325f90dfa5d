/**
 * One client connection: bytes in, commands run in order, replies gated and sent.
 *
 *   data → parser → dispatcher → reply buffer ─┬─ tag committed: to the socket at once
 *                                              └─ otherwise held, until the commit index reaches the tag
 *
 * A session is parked while its current command waits (for a block from disk, a free segment, a pause): nothing
 * after it runs, since replies keep request order. When the wait ends the command runs again from its start.
 * Replies that the client does not read stop the session from running more (back-pressure), and its socket
 * from being read.
 */
import type { Socket } from "bun";
import { assert } from "../base/assert.ts";
import { freeBuffer } from "../base/slab-pool.ts";
import type { Piece, ReplyWriter } from "../resp/reply-writer.ts";
import { Request } from "../resp/request.ts";
import { ParseStatus, RequestParser, TOO_BIG_REQUEST } from "../resp/request-parser.ts";
import { UnitWork } from "../store/interrupt.ts";
import type { Store } from "../store/store.ts";
import type { CommandSpec } from "./command-table.ts";
import type { CommandContext } from "./handler.ts";
import { LargeMemory } from "./large-memory.ts";
import { Outbox } from "./outbox.ts";
import { ReplyMode } from "./reply-mode.ts";
import { formatAddress, type SessionHost, type UnblockOutcome } from "./session-host.ts";
import type { SessionRouting } from "./session-routing.ts";
import type { Statistics } from "./statistics.ts";
import type { Transaction } from "./transaction.ts";
import { WITHDRAWN, WITHDRAWN_FROM_PEER } from "./withdraw-replies.ts";

/** Unsent reply bytes at which a session stops running commands until the client has read some. */
const OUTPUT_PENDING_MAX = 1 << 20;
/** Replies of other nodes that may be on their way to one session. */
const HOLES_MAX = 1024;
/** Reply bytes, without pieces, below which limits need no look … */
const OUTPUT_CHECKED_FROM = 1 << 16;
/** … and above which they are sent at once, so that the client has something to do. */
const SENT_SOON_BYTES_MAX = OUTPUT_CHECKED_FROM;
/** Requests parsed ahead at most. */
export const BATCH_REQUESTS = 16;

const NO_REQUEST = new Request();

export class Session {
  readonly id: number;
  readonly socket: Socket<Session>;
  /** The requests of the host's batch that come after the current one: [batchNext, batchEnd). */
  batchNext = 0;
  batchEnd = 0;
  /** The current one; EXEC puts the queued ones in its place, one by one. */
  request: Request = NO_REQUEST;
  readonly reply: ReplyWriter;
  readonly parser: RequestParser;
  readonly #host: SessionHost;
  readonly outbox: Outbox;
  /** Why parsing stopped. */
  #status: ParseStatus = ParseStatus.INCOMPLETE;
  /** Parsed, and not run because an earlier one had to wait. */
  readonly #waiting: Request[] = [];
  readonly #large: LargeMemory;
  #isParked = false;
  #isRunning = false;
  #isPaused = false;
  #isClosed = false;
  /** The client has closed its sending side. */
  #hasEnded = false;
  /** No more commands: close once all replies have left. */
  isClosing = false;
  /** Passed to every handler; one object for the session's whole life. */
  readonly context: CommandContext & { store: Store };
  /** Slow work of the current command. */
  readonly work = new UnitWork();
  readonly address: string;
  /** On the monotonic clock. */
  readonly connectedMs: number;
  /** As the store's nowMs. */
  lastActiveMs: number;
  /** Ends the wait of a blocking command (WAIT, WAITAOF); undefined while none waits. */
  unblock: ((outcome: UnblockOutcome) => void) | undefined = undefined;
  #isAuthenticated = true;
  name = "";
  libraryName = "";
  libraryVersion = "";
  lastCommand: CommandSpec | undefined = undefined;
  transaction: Transaction | undefined = undefined;
  readonly watchedKeys = new Set<string>();
  /** In a cluster: what routing knows about the connection. */
  routing: SessionRouting | undefined = undefined;
  isWatchBroken = false;
  /** A change of the node's role has ended its blocking command, which is still to be answered. */
  #isUnblocked = false;
  /** On the monotonic clock: since when its write waits for the node to take it; 0: none does. */
  heldSinceMs = 0;
  isMonitor = false;
  /** CLIENT NO-EVICT and NO-TOUCH, for CLIENT LIST; nothing is evicted here. */
  isNoEvict = false;
  isNoTouch = false;
  readonly replyMode = new ReplyMode();
  readonly #statistics: Statistics;

  constructor(id: number, socket: Socket<Session>, host: SessionHost) {
    this.id = id;
    this.socket = socket;
    this.#host = host;
    this.#statistics = host.server.statistics;
    this.outbox = new Outbox(socket, this.#statistics);
    this.reply = this.outbox.reply;
    this.parser = new RequestParser(host.limits, host.largeBytes.slabs);
    this.#large = new LargeMemory(host.largeBytes, this.work);
    this.address = formatAddress(socket.remoteAddress, socket.remotePort);
    this.connectedMs = host.server.clock.monotonicMs();
    this.lastActiveMs = host.server.store.nowMs;
    host.opened(this);
    const session = this;
    this.context = {
      server: host.server,
      store: host.server.store,
      session,
      reply: this.reply,
      get request() {
        return session.request;
      },
    };
  }

  get isAuthenticated(): boolean {
    return this.#isAuthenticated;
  }

  set isAuthenticated(value: boolean) {
    this.#isAuthenticated = value;
    this.parser.isTrusted = value;
  }

  /** Takes back the reply that starts at `start`, for CLIENT REPLY. */
  dropReply(start: number): void {
    this.reply.truncate(start);
    this.replyMode.next();
  }

  /** RESET: as the connection began. */
  reset(): void {
    this.reply.protocol = 2;
    this.transaction = undefined;
    this.name = "";
    this.replyMode.set("on");
    this.isMonitor = this.isNoEvict = this.isNoTouch = false;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }
  /** Address and port of this server's end. */
  get localAddress(): string {
    return formatAddress(this.socket.localAddress, this.socket.localPort);
  }

  /** Memory that its unfinished request and its replies take. */
  get bufferBytes(): number {
    const pieces = this.reply.pendingBytes - this.reply.length;
    return this.parser.bufferedBytes + this.reply.buffer.length + pieces;
  }

  /** Requests that are parsed and come after the current one. */
  get upcoming(): readonly Request[] {
    if (this.#waiting.length > 0) return this.#waiting;
    return this.#host.batch.slice(this.batchNext, this.batchEnd);
  }

  /** Bytes of replies that have not left. */
  get pendingBytes(): number {
    return this.reply.pendingBytes;
  }

  /** Bytes have arrived. Takes `chunk`: it is kept until its commands have run, or freed. */
  onData(chunk: Buffer): void {
    if (this.isClosing) return;
    this.#statistics.reads++;
    this.#statistics.netInputBytes += chunk.length;
    if (this.parser.feed(chunk)) freeBuffer(chunk);
    if (this.#isParked || this.#isRunning) this.#pause();
    else this.#run();
  }

  onDrain(): void {
    this.outbox.isBlocked = false;
    this.#send();
    this.#continue();
  }

  /** The client will send nothing more: what it asked for is still answered. */
  onEnd(): void {
    this.#hasEnded = true;
    this.unblock?.("timeout");
    this.#closeIfAnswered();
  }

  /** The client has ended its side, and all that it asked for has been run. */
  #closeIfAnswered(): void {
    if (!this.#hasEnded || this.#isParked || this.#isClosed) return;
    if (this.#isPaused && (this.parser.hasUnread || this.#waiting.length > 0)) return;
    this.closeAfterReplies();
  }

  onClose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.isClosing = true;
    this.unblock?.("timeout");
    this.outbox.clear();
    this.#releaseLarge();
    this.#host.closed(this);
  }

  /** Ends the connection once its replies have left. */
  closeAfterReplies(): void {
    this.isClosing = true;
    // A command that waits is still answered.
    if (this.outbox.isEmpty && !this.#isParked) this.socket.end();
  }

  /** Ends the connection now; what has not left is lost. */
  kill(): void {
    this.isClosing = true;
    this.socket.terminate();
  }

  /** Sends what was put off by sendSoon() of the host. */
  sendNow(): void {
    this.#send();
    this.#continue();
  }

  /** The commit index has grown: sends what it allows. */
  release(): void {
    this.#send();
    if (this.outbox.isGated) this.#host.gate(this);
    this.#continue();
  }

  /** Nobody can say what becomes of the frames that replies wait for (Outbox.withdraw). REQUIRES: it is not running. */
  withdraw(): void {
    assert(!this.#isRunning, "replies withdrawn from a session that runs");
    const isPeer = this.routing?.isPeer === true;
    this.outbox.withdraw(isPeer ? WITHDRAWN_FROM_PEER : WITHDRAWN, this.#host);
    this.release();
  }

  /** Ends the wait of a blocking command: the node's role changes. */
  unblockForRole(): void {
    this.#isUnblocked = this.unblock !== undefined;
    this.unblock?.("role");
  }

  /** Another store is the node's now: what was prepared for the waiting command is void, and keys may have changed. */
  adopt(store: Store): void {
    this.context.store = store;
    this.heldSinceMs = 0;
    if (!this.#isUnblocked) this.work.giveUp();
    this.#isUnblocked = false;
    if (this.watchedKeys.size > 0) this.isWatchBroken = true;
  }

  /** The reply that has its place in `hole` is there. Takes `encoded`. */
  fill(hole: Piece, encoded: Buffer): void {
    if (this.#isClosed) return;
    this.reply.fill(hole, encoded);
    // Others leave with the one before them.
    if (!this.#isRunning && this.reply.pieces[0] === hole) this.#host.sendSoon(this);
  }

  /** Appends a message that no request asked for (MONITOR, push) and sends it. */
  sendUnasked(encoded: Buffer): void {
    if (this.#isClosed) return;
    this.reply.raw(encoded);
    // Behind the reply to a command of its own, which is marked when that ends.
    if (this.#isRunning) return;
    this.outbox.mark("none");
    this.flush(0, 0);
  }

  /** Runs what has arrived, until it must wait or nothing whole is left. */
  #run(): void {
    this.#isRunning = true;
    this.#host.beginBatch(this);
    try {
      this.#runCommands();
    } catch (error) {
      this.#host.onFatal(error as Error);
    }
    this.#isRunning = false;
    this.#host.endBatch();
    this.flush(this.#host.batchTag, this.#host.batchRound);
    this.#admitLarge();
  }

  /** Without memory for a large argument that has begun to arrive, the rest of it waits in the client. */
  #admitLarge(): void {
    if (this.#isClosed) this.#releaseLarge();
    const wait = this.#large.admit(this.#isClosed ? undefined : this.parser.awaitedLarge);
    if (this.#large.isRefused && !this.isClosing) this.#endTooBig();
    if (wait === undefined) return;
    this.#pause();
    wait.then(
      () => {
        if (this.#isClosed) this.#releaseLarge();
        else this.#resumeIfReady();
      },
      (error: Error) => this.#host.onFatal(error),
    );
  }

  /** What it has sent, or queued in a transaction, takes more memory than one client can have. */
  #endTooBig(): void {
    this.#statistics.queryBufferDisconnections++;
    this.reply.error(TOO_BIG_REQUEST);
    this.isClosing = true;
    this.flush(0, 0);
  }

  /** Gives back the memory of large arguments and values once nothing refers to them. */
  #releaseLarge(): void {
    if (!this.#large.isHeld) return;
    // A command that waits goes on with its arguments even when its client has gone.
    const isClosed = this.#isClosed;
    if (this.#isParked || (isClosed ? this.#isRunning : this.reply.pieces.length > 0)) return;
    this.#large.release({ isQueued: !isClosed && this.transaction !== undefined, isClosed });
  }

  /**
   * Requests are parsed some at a time, so that the memory which their keys need can be fetched for all of them
   * together, and then run one by one.
   */
  #runCommands(): void {
    const host = this.#host;
    while (!this.isClosing) {
      if (this.#waiting.length > 0) {
        this.request = this.#waiting.shift()!;
        this.batchEnd = 0;
        if (this.#isHeldUp(host.execute(this))) return;
        continue;
      }
      const batch = host.batch;
      const count = this.#parseBatch(batch);
      if (count > 1) host.warm(count);
      this.batchEnd = count;
      for (let i = 0; i < count; i++) {
        this.batchNext = i + 1;
        this.request = batch[i]!;
        if (this.request.count === 0) continue;
        const wait = host.execute(this);
        if (wait === undefined && this.request.large.length > 0) this.#large.spend(this.request);
        if (this.isClosing) return;
        if (wait === undefined && this.#isOutputShort) continue;
        if (!this.#isHeldUp(wait)) continue;
        this.#keepRest(batch, i, count);
        return;
      }
      if (this.#status === ParseStatus.MALFORMED) {
        if (this.parser.error === TOO_BIG_REQUEST) this.#statistics.queryBufferDisconnections++;
        this.reply.error(this.parser.error);
        this.isClosing = true;
      }
      if (this.#status !== ParseStatus.COMPLETE) return;
    }
  }

  /** Parses up to a batch of requests; #status says why it stopped. Returns how many there are. */
  #parseBatch(batch: Request[]): number {
    // Limits are tighter until AUTH has run, and what the parser owns moves when more arrives: one at a time then.
    const most = this.parser.isTrusted && this.parser.isBorrowing ? batch.length : 1;
    for (let count = 0; count < most; count++) {
      this.#status = this.parser.next(batch[count]!);
      if (this.#status !== ParseStatus.COMPLETE) return count;
    }
    return most;
  }

  get #isOutputShort(): boolean {
    return this.reply.length < OUTPUT_CHECKED_FROM && this.reply.pieces.length === 0;
  }

  /** Parks for `wait`, or stops for a client that does not read; true when nothing more may run now. */
  #isHeldUp(wait: Promise<void> | undefined): boolean {
    if (wait !== undefined) {
      this.#park(wait);
      return true;
    }
    return this.#isOutputFull && this.#isOutputStuck();
  }

  /** Whether no more commands may run before the client has read some. A large value leaves before the next begins. */
  get #isOutputFull(): boolean {
    const { reply } = this;
    if (this.work.heldBytes > 0 && reply.pieces.length > 0) return true;
    if (reply.openHoles >= HOLES_MAX) return true;
    return reply.pendingBytes > OUTPUT_PENDING_MAX;
  }

  /** The batch is shared by all sessions: takes the current request, and those after it, out of it. */
  #keepRest(batch: Request[], index: number, count: number): void {
    this.batchEnd = 0;
    batch[index] = new Request();
    for (let i = index + 1; i < count; i++) {
      if (batch[i]!.count > 0) this.#waiting.push(batch[i]!);
      batch[i] = new Request();
    }
  }

  /** Sends what may leave; true when the client is not reading and the session must wait. */
  #isOutputStuck(): boolean {
    this.flush(this.#host.batchTag, this.#host.batchRound);
    if (!this.#isOutputFull) return false;
    this.#pause();
    return true;
  }

  #park(wait: Promise<void>): void {
    this.#isParked = true;
    wait.then(
      () => this.#unpark(),
      (error: Error) => this.#host.onFatal(error),
    );
  }

  #unpark(): void {
    this.#isParked = false;
    if (this.#isClosed) {
      this.#releaseLarge();
      return;
    }
    this.#isRunning = true;
    this.#host.beginBatch(this);
    let wait: Promise<void> | undefined;
    try {
      wait = this.#host.execute(this);
      if (wait === undefined) {
        if (this.request.large.length > 0) this.#large.spend(this.request);
        if (!this.#isHeldUp(undefined)) this.#runCommands();
      } else {
        this.#park(wait);
      }
    } catch (error) {
      this.#host.onFatal(error as Error);
    }
    this.#isRunning = false;
    this.#host.endBatch();
    this.flush(this.#host.batchTag, this.#host.batchRound);
    this.#admitLarge();
    this.#resumeIfReady();
    this.#closeIfAnswered();
  }

  /** Tags what was written since the last flush and sends all that may leave. */
  flush(tag: number, round: number): void {
    const outbox = this.outbox;
    if (outbox.isEmpty) {
      this.#releaseLarge();
      if (this.isClosing && !this.#isParked && !this.#isClosed) this.socket.end();
      return;
    }
    if (outbox.tag(tag, round, this.#host)) this.#host.gate(this);
    if (outbox.isGated || this.isClosing || this.reply.length > SENT_SOON_BYTES_MAX) this.#send();
    else this.#host.sendSoon(this);
  }

  #send(): void {
    if (this.#isClosed) return;
    this.outbox.send(this.#host);
    this.#releaseLarge();
    if (this.outbox.isEmpty && this.isClosing && !this.#isParked) this.socket.end();
  }

  /** Goes on with what had to wait for replies to leave. */
  #continue(): void {
    if (!this.#isPaused || this.#isParked || this.#isRunning || this.isClosing) return;
    if (this.#isOutputFull) return;
    if (this.#host.isRunning) {
      // Another session is in the middle of the batch, which is shared, as are the store's tag and clock.
      this.#host.continueLater(this);
      return;
    }
    if (this.parser.hasUnread || this.#waiting.length > 0) this.#run();
    this.#resumeIfReady();
    this.#closeIfAnswered();
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.socket.pause();
  }

  #resumeIfReady(): void {
    if (!this.#isPaused || this.#isParked || this.isClosing || this.#large.isWaiting) return;
    if (this.#isOutputFull) return;
    this.#isPaused = false;
    this.socket.resume();
  }
}
