/** Requests that are passed on are, byte for byte, what a client would send. */
import { expect, test } from "bun:test";
import { Request } from "../../src/resp/request.ts";
import { encodeRequest, encodeWords } from "../../src/resp/request-encoder.ts";
import { SimRandom } from "../sim/random.ts";

const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? 1);

test("small requests are encoded as their words are", () => {
  for (let seed = SEED; seed < SEED + 200; seed++) {
    const random = new SimRandom(seed);
    const longest = [9, 10, 99, 100, 20_000][random.below(5)]!;
    const words = Array.from({ length: 1 + random.below(12) }, (_, i) =>
      String.fromCharCode(97 + i).repeat(random.below(2) * random.below(longest + 1)),
    );
    const request = new Request();
    request.bytes = Buffer.from(`-${words.join("-")}`);
    request.count = words.length;
    let at = 1;
    for (const [index, word] of words.entries()) {
      request.starts[index] = at;
      request.ends[index] = at + word.length;
      at += word.length + 1;
    }
    const encoded = Buffer.concat(encodeRequest(request)).toString();
    expect({ seed, encoded }).toEqual({ seed, encoded: encodeWords(...words).toString() });
  }
});
