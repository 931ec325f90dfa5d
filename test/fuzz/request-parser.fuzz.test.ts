/**
 * The request parser on random streams. Valid ones read as redis-parser reads them (a request is an array of bulk
 * strings, so a parser of replies is an oracle); any bytes at all read the same however they are cut into chunks, without
 * an exception and without holding more than arrived. Cases: 20 × DKV_FUZZ_RUNS (default 300); a failure prints its seed.
 */
import { afterAll, expect, test } from "bun:test";
import RedisParser from "redis-parser";
import { LARGE_ARGUMENT_BYTES } from "../../src/resp/request.ts";
import { seededRandom } from "../lsm/table-support.ts";
import { chunksOf, LIMITS, type ReadOptions, readRequests } from "../support/request-support.ts";

const CASES = 20 * Number(process.env["DKV_FUZZ_RUNS"] ?? 300);
const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const TIMEOUT_MS = 3_600_000;
/** The parser's least buffer; a larger one has twice the room that is needed, and large arguments lie beside it. */
const SLACK_BYTES = 64 * 1024;
/** Cases that send until they are refused. */
const FLOODS_MAX = 500;
/** One case in so many has an argument that is kept in pieces. */
const LARGE_EVERY = 5000;

type Random = (bound: number) => number;
let executions = 0;

afterAll(() => console.log(`request parser: ${executions} executions, seed ${SEED}`));

/** Runs `check` for every case; says which one failed. */
function forEachCase(salt: number, check: (random: Random, index: number) => void): void {
  for (let index = 0; index < CASES; index++) {
    const seed = (SEED + salt + index * 7919) | 0;
    try {
      check(seededRandom(seed), index);
    } catch (error) {
      throw new Error(`case ${index} of DKV_FUZZ_SEED=${SEED}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
}

function read(chunks: readonly Buffer[], options: ReadOptions = {}) {
  executions++;
  return readRequests(chunks, options);
}

function randomBytes(random: Random, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = random(256);
  return bytes;
}

function randomCuts(random: Random, length: number): number[] {
  const count = random(3) === 0 ? random(20) : random(4);
  return Array.from({ length: count }, () => random(length + 1)).sort((a, b) => a - b);
}

function argumentLength(random: Random): number {
  if (random(LARGE_EVERY) === 0) return LARGE_ARGUMENT_BYTES + random(70_000);
  const kind = random(20);
  if (kind === 0) return random(5000);
  return kind < 4 ? random(150) : random(12);
}

/** A pipeline of valid requests. */
function validStream(random: Random): Buffer {
  const parts: Buffer[] = [];
  for (let request = 1 + random(6); request > 0; request--) {
    const count = random(30) === 0 ? random(200) : random(6);
    parts.push(Buffer.from(`*${count}\r\n`));
    for (let i = 0; i < count; i++) {
      const length = argumentLength(random);
      const bytes = length > 5000 ? Buffer.alloc(length, random(256)) : randomBytes(random, length);
      parts.push(Buffer.from(`$${length}\r\n`), bytes, Buffer.from("\r\n"));
    }
  }
  return Buffer.concat(parts);
}

const FRAGMENTS = [
  ..."*$+-:_%~>\r\n\t \0\"'\\x0123456789aZ\xff",
  ..."*0\r\n|*-1\r\n|*1\r\n|*2\r\n|*3\r\n|$0\r\n\r\n|$1\r\na\r\n|$3\r\nGET\r\n|$4\r\nPING\r\n|$5\r\n|$-1\r\n".split(
    "|",
  ),
  ..."\r\n|\r\n|PING\r\n|SET k \"a\\x41\"\r\n|GET 'k'\n|*1048577\r\n|*11\r\n|$16385\r\n|$1048577\r\n".split(
    "|",
  ),
  ..."*999999999999999|$999999999999999|9999999999999999|*10000\r\n|$536870913\r\n|\\x|\\n".split(
    "|",
  ),
].map((text) => Buffer.from(text, "latin1"));

/** Bytes that are nearly requests. */
function wildStream(random: Random): Buffer {
  const kind = random(10);
  if (kind === 0) return randomBytes(random, random(60));
  if (kind < 5) {
    const parts = Array.from(
      { length: 1 + random(16) },
      () => FRAGMENTS[random(FRAGMENTS.length)]!,
    );
    return Buffer.concat(parts);
  }
  const bytes = validStream(random);
  for (let change = 1 + random(3); change > 0 && bytes.length > 0; change--) {
    bytes[random(bytes.length)] = random(2) === 0 ? random(256) : FRAGMENTS[random(20)]![0]!;
  }
  return bytes.subarray(
    random(4) === 0 ? random(20) : 0,
    bytes.length - (random(4) === 0 ? random(9) : 0),
  );
}

/** The oracle's view; empty requests are nothing to a server. */
function oracle(stream: Buffer): string[][] {
  const requests: string[][] = [];
  const parser = new RedisParser({
    returnBuffers: true,
    returnReply: (reply: Buffer[]) => {
      if (reply.length > 0) requests.push(reply.map((bytes) => bytes.toString("latin1")));
    },
    returnError: (error: Error) => {
      throw error;
    },
  });
  parser.execute(stream);
  return requests;
}

test(
  "RequestParser reads valid streams as redis-parser does, however they are cut",
  () => {
    forEachCase(1, (random) => {
      const stream = validStream(random);
      const cuts = randomCuts(random, stream.length);
      const { requests, error } = read(chunksOf(stream, cuts), {
        // What is kept in pieces lies in the chunks.
        spoils: stream.length < LARGE_ARGUMENT_BYTES,
      });
      if (error !== undefined || !Bun.deepEquals(requests, oracle(stream))) {
        expect({ cuts, error, requests }).toEqual({
          cuts,
          error: undefined,
          requests: oracle(stream),
        });
      }
    });
  },
  TIMEOUT_MS,
);

test(
  "RequestParser reads any bytes alike however they are cut, and holds no more than arrived",
  () => {
    forEachCase(2, (random, index) => {
      const stream = wildStream(random);
      const spoils = stream.length < LARGE_ARGUMENT_BYTES;
      const options = { isTrusted: random(4) !== 0, spoils };
      const whole = read([stream], options);
      const cuts = randomCuts(random, stream.length);
      const others = [chunksOf(stream, cuts)];
      if (index % 8 === 0 && stream.length < 2000) {
        others.push(
          chunksOf(
            stream,
            Array.from({ length: stream.length }, (_, i) => i),
          ),
        );
      }
      for (const chunks of others) {
        const cut = read(chunks, options);
        const isSame = cut.error === whole.error && Bun.deepEquals(cut.requests, whole.requests);
        if (!isSame) {
          expect({ stream: stream.toString("latin1"), cuts, ...cut }).toEqual({
            stream: stream.toString("latin1"),
            cuts,
            ...whole,
          });
        }
        if (cut.bufferedMax > 4 * stream.length + SLACK_BYTES) {
          expect({ cuts, held: cut.bufferedMax }).toEqual({ cuts, held: stream.length });
        }
      }
    });
  },
  TIMEOUT_MS,
);

test(
  "RequestParser holds no more than a client may send before it is refused",
  () => {
    forEachCase(3, (random, index) => {
      // Each sends megabytes.
      if (index % 50 !== 0 || index > FLOODS_MAX * 50) return;
      const limits = { bulkBytesMax: LIMITS.bulkBytesMax, requestBytesMax: 2 << 20 };
      const part = randomBytes(random, 200);
      const filler = Buffer.alloc(1000 + random(200_000), part);
      const head = ["*1048576\r\n", "*", "GET ", '"', `*2\r\n$${3 << 20}\r\n`][random(5)]!;
      const body = head.startsWith("*1")
        ? Buffer.concat([Buffer.from(`$${filler.length}\r\n`), filler, Buffer.from("\r\n")])
        : filler;
      const chunks = [
        Buffer.from(head),
        ...new Array<Buffer>(Math.ceil((6 << 20) / body.length)).fill(body),
      ];
      const { bufferedMax } = read(chunks, { limits });
      expect(bufferedMax).toBeLessThan(3 * limits.requestBytesMax);
    });
  },
  TIMEOUT_MS,
);
