/**
 * The rest of Redis 7.0's directives: accepted, so that an existing redis.conf starts dkv, shown by CONFIG GET with
 * Redis's default or the given value, and without any effect. Each one given is logged once. A few would promise
 * what dkv does not do, and ignoring them would be dangerous: those are refused unless they have the harmless value.
 *
 * One directive per line, then its default as CONFIG GET prints it.
 */
import { integer, type Kind, memory, words, yesNo } from "./kinds.ts";

const SWITCHES = `
activedefrag no
activerehashing yes
always-show-logo no
aof-disable-auto-gc no
aof-load-truncated yes
aof-rewrite-incremental-fsync yes
aof-timestamp-enabled no
aof-use-rdb-preamble yes
appendonly no
cluster-allow-pubsubshard-when-down yes
cluster-allow-reads-when-down no
cluster-allow-replica-migration yes
cluster-replica-no-failover no
cluster-require-full-coverage yes
crash-log-enabled yes
crash-memcheck-enabled yes
daemonize no
disable-thp yes
dynamic-hz yes
io-threads-do-reads no
jemalloc-bg-thread yes
lazyfree-lazy-eviction no
lazyfree-lazy-expire no
lazyfree-lazy-server-del no
lazyfree-lazy-user-del no
lazyfree-lazy-user-flush no
no-appendfsync-on-rewrite no
rdb-del-sync-files no
rdb-save-incremental-fsync yes
rdbchecksum yes
rdbcompression yes
repl-disable-tcp-nodelay no
repl-diskless-sync yes
replica-announced yes
replica-ignore-disk-write-errors no
replica-ignore-maxmemory yes
replica-lazy-flush no
replica-read-only yes
set-proc-title yes
stop-writes-on-bgsave-error yes
supervised no
syslog-enabled no
tls-auth-clients yes
tls-cluster no
tls-prefer-server-ciphers no
tls-replication no
tls-session-caching yes
`;

const NUMBERS = `
acllog-max-len 128
active-defrag-cycle-max 25
active-defrag-cycle-min 1
active-defrag-max-scan-fields 1000
active-defrag-threshold-lower 10
active-defrag-threshold-upper 100
active-expire-effort 1
auto-aof-rewrite-percentage 100
busy-reply-threshold 5000
cluster-announce-bus-port 0
cluster-announce-tls-port 0
cluster-migration-barrier 1
cluster-node-timeout 15000
cluster-port 0
cluster-replica-validity-factor 10
databases 16
hash-max-listpack-entries 512
hash-max-listpack-value 64
hz 10
io-threads 1
lfu-decay-time 1
lfu-log-factor 10
list-compress-depth 0
list-max-listpack-size -2
maxmemory-eviction-tenacity 10
maxmemory-samples 5
min-replicas-max-lag 10
min-replicas-to-write 0
repl-backlog-ttl 3600
repl-diskless-sync-delay 5
repl-diskless-sync-max-replicas 0
repl-ping-replica-period 10
repl-timeout 60
replica-announce-port 0
replica-priority 100
set-max-intset-entries 512
shutdown-timeout 10
socket-mark-id 0
stream-node-max-entries 100
tcp-backlog 511
tls-port 0
tls-session-cache-size 20480
tls-session-cache-timeout 300
tracking-table-max-keys 1000000
unixsocketperm 0
zset-max-listpack-entries 128
zset-max-listpack-value 64
`;

const SIZES = `
active-defrag-ignore-bytes 104857600
auto-aof-rewrite-min-size 67108864
cluster-link-sendbuf-limit 0
hll-sparse-max-bytes 3000
repl-backlog-size 1048576
stream-node-max-bytes 4096
`;

const TEXTS = `
acl-pubsub-default resetchannels
aclfile
aof_rewrite_cpulist
appenddirname appendonlydir
appendfilename appendonly.aof
bgsave_cpulist
bind-source-addr
bio_cpulist
cluster-config-file nodes.conf
cluster-preferred-endpoint-type ip
dbfilename dump.rdb
enable-debug-command no
enable-module-command no
enable-protected-configs no
ignore-warnings
masterauth
masteruser
maxmemory-clients 0
notify-keyspace-events
oom-score-adj no
oom-score-adj-values 0 200 800
pidfile
proc-title-template {title} {listen-addr} {server-mode}
propagation-error-behavior ignore
repl-diskless-load disabled
replica-announce-ip
replicaof
sanitize-dump-payload no
save 3600 1 300 100 60 10000
server_cpulist
shutdown-on-sigint default
shutdown-on-sigterm default
syslog-facility local0
syslog-ident redis
tls-ca-cert-dir
tls-ca-cert-file
tls-cert-file
tls-ciphers
tls-ciphersuites
tls-client-cert-file
tls-client-key-file
tls-client-key-file-pass
tls-dh-params-file
tls-key-file
tls-key-file-pass
tls-protocols
unixsocket
`;

const ALIASES = `
cluster-slave-no-failover cluster-replica-no-failover
cluster-slave-validity-factor cluster-replica-validity-factor
hash-max-ziplist-entries hash-max-listpack-entries
hash-max-ziplist-value hash-max-listpack-value
list-max-ziplist-size list-max-listpack-size
lua-time-limit busy-reply-threshold
min-slaves-max-lag min-replicas-max-lag
min-slaves-to-write min-replicas-to-write
repl-ping-slave-period repl-ping-replica-period
slave-announce-ip replica-announce-ip
slave-announce-port replica-announce-port
slave-ignore-maxmemory replica-ignore-maxmemory
slave-lazy-flush replica-lazy-flush
slave-priority replica-priority
slave-read-only replica-read-only
slave-serve-stale-data replica-serve-stale-data
slaveof replicaof
zset-max-ziplist-entries zset-max-listpack-entries
zset-max-ziplist-value zset-max-listpack-value
`;

/** CONFIG SET refuses these in Redis too. */
const IMMUTABLE = `
aclfile
always-show-logo
aof_rewrite_cpulist
appenddirname
appendfilename
bgsave_cpulist
bio_cpulist
cluster-config-file
cluster-port
daemonize
databases
dbfilename
disable-thp
enable-debug-command
enable-module-command
enable-protected-configs
io-threads
io-threads-do-reads
pidfile
rdbchecksum
replicaof
server_cpulist
set-proc-title
socket-mark-id
supervised
syslog-enabled
syslog-facility
syslog-ident
tcp-backlog
unixsocket
unixsocketperm
`;

/** Only these values are accepted: with another one a user would rely on what is not done. */
const REQUIRED = `
aclfile
min-replicas-to-write 0
replicaof
tls-cluster no
tls-port 0
tls-replication no
`;

const SECRETS = `
masterauth
tls-client-key-file-pass
tls-key-file-pass
`;

/** Directives that CONFIG GET never shows, with what to say when a file has one. */
export const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ["rename-command", "commands cannot be renamed or disabled"],
  ["user", "there are no ACL users; use requirepass"],
  ["loadmodule", "there are no modules"],
]);

function pairs(table: string): [string, string][] {
  return table
    .trim()
    .split("\n")
    .map((line) => {
      const space = line.indexOf(" ");
      return space === -1 ? [line, ""] : [line.slice(0, space), line.slice(space + 1)];
    });
}

/** Old name → the name that it is an alias of. CONFIG GET shows both. */
export const REDIS_ALIASES: ReadonlyMap<string, string> = new Map(pairs(ALIASES));

export interface RedisDirective {
  readonly kind: Kind<unknown>;
  readonly default: string;
  readonly isImmutable: boolean;
  readonly isSecret: boolean;
}

const NUMBER_BOUNDS = { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER };

function requireValue(kind: Kind<unknown>, value: string): Kind<unknown> {
  return {
    ...kind,
    parse(args, previous) {
      const parsed = kind.parse(args, previous);
      if ("error" in parsed || kind.format(parsed.value) === value) return parsed;
      return { error: `not supported by dkv; only "${value}" is accepted` };
    },
  };
}

function build(): Map<string, RedisDirective> {
  const immutable = new Set(pairs(IMMUTABLE).map(([name]) => name));
  const secrets = new Set(pairs(SECRETS).map(([name]) => name));
  const required = new Map(pairs(REQUIRED));
  const tables: [string, Kind<unknown>][] = [
    [SWITCHES, yesNo()],
    [NUMBERS, integer(NUMBER_BOUNDS)],
    [SIZES, memory(NUMBER_BOUNDS)],
    [TEXTS, words()],
  ];
  const out = new Map<string, RedisDirective>();
  for (const [table, kind] of tables) {
    for (const [name, value] of pairs(table)) {
      const only = required.get(name);
      out.set(name, {
        kind: only === undefined ? kind : requireValue(kind, only),
        default: value,
        isImmutable: immutable.has(name),
        isSecret: secrets.has(name),
      });
    }
  }
  return out;
}

export const REDIS_DIRECTIVES: ReadonlyMap<string, RedisDirective> = build();
