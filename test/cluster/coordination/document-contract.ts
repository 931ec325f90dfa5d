/** The contract of a Coordinator, first part: documents, watches, order. */
import { expect } from "bun:test";
import { AssertionError } from "../../../src/base/assert.ts";
import {
  type Coordinator,
  DOCUMENT_BYTES_MAX,
} from "../../../src/cluster/coordination/coordinator.ts";
import { ensurePath } from "../../../src/cluster/coordination/settle-write.ts";
import { bytes, type ContractContext, text } from "./contract-context.ts";

export function describeDocuments(context: ContractContext): void {
  context.test("a document has the bytes and the version of its last write", async (folder) => {
    const path = `${folder}/a`;
    expect(await context.observer.read(path)).toEqual({ kind: "missing" });
    expect(await context.observer.create(path, bytes("one"), "durable")).toEqual({
      kind: "ok",
      version: 0,
    });
    const first = await context.observer.read(path);
    expect(first).toMatchObject({ kind: "ok", version: 0, lifetime: "durable" });
    expect(await context.observer.write(path, bytes("two"), 0)).toEqual({ kind: "ok", version: 1 });
    const second = await context.observer.read(path);
    expect(second).toMatchObject({ kind: "ok", data: bytes("two"), version: 1 });
    expect(await context.observer.write(path, bytes(""), 1)).toEqual({ kind: "ok", version: 2 });
    expect(await context.observer.read(path)).toMatchObject({ data: bytes(""), version: 2 });
    expect(await context.observer.remove(path, 2)).toEqual({ kind: "ok" });
    expect(await context.observer.read(path)).toEqual({ kind: "missing" });
  });

  context.test("a document created again is told by its creationId", async (folder) => {
    const path = `${folder}/a`;
    await context.observer.create(path, bytes("x"), "durable");
    const before = await context.observer.read(path);
    await context.observer.remove(path, 0);
    await context.observer.create(path, bytes("x"), "durable");
    const after = await context.observer.read(path);
    if (before.kind !== "ok" || after.kind !== "ok") throw new Error("not there");
    expect(after.version).toBe(before.version);
    expect(after.creationId).not.toBe(before.creationId);
    await context.observer.write(path, bytes("y"), 0);
    expect(await context.observer.read(path)).toMatchObject({ creationId: after.creationId });
  });

  context.test("conflicts say which condition did not hold, and change nothing", async (folder) => {
    const path = `${folder}/a`;
    const conflict = (cause: string) => ({ kind: "conflict" as const, cause });
    expect(await context.observer.write(path, bytes("x"), 0)).toMatchObject(conflict("missing"));
    expect(await context.observer.remove(path, 0)).toMatchObject(conflict("missing"));
    expect(await context.observer.create(`${path}/b`, bytes("x"), "durable")).toMatchObject(
      conflict("missing"),
    );
    await context.observer.create(path, bytes("x"), "durable");
    expect(await context.observer.create(path, bytes("y"), "durable")).toMatchObject(
      conflict("exists"),
    );
    expect(await context.observer.write(path, bytes("y"), 1)).toMatchObject(conflict("version"));
    expect(await context.observer.remove(path, 1)).toMatchObject(conflict("version"));
    expect(await context.observer.remove(folder, 0)).toMatchObject(conflict("children"));
    await context.observer.create(`${folder}/e`, bytes(""), "ephemeral");
    expect(await context.observer.create(`${folder}/e/f`, bytes(""), "durable")).toMatchObject(
      conflict("children"),
    );
    expect(await context.dataOf(path)).toBe("x");
  });

  context.test(
    "a document of the largest size comes back as it was; a larger one is a bug",
    async (folder) => {
      const data = new Uint8Array(DOCUMENT_BYTES_MAX).map((_, index) => index * 7);
      await context.observer.create(`${folder}/a`, data, "durable");
      const read = await context.settled(context.observer.read(`${folder}/a`));
      expect(read.kind === "ok" && Buffer.compare(read.data, data) === 0).toBe(true);
      const larger = new Uint8Array(DOCUMENT_BYTES_MAX + 1);
      expect(() => context.observer.create(`${folder}/b`, larger, "durable")).toThrow(
        AssertionError,
      );
      expect(() => context.observer.write(`${folder}/b`, larger, 0)).toThrow(AssertionError);
      expect(() => context.observer.read("relative")).toThrow(AssertionError);
      expect(() => context.observer.write(`${folder}/a`, data, -1)).toThrow(AssertionError);
    },
  );

  context.test("the bytes of a write are those at the call", async (folder) => {
    const data = bytes("before");
    const outcome = context.observer.create(`${folder}/a`, data, "durable");
    data.fill(0);
    await context.settled(outcome);
    expect(await context.dataOf(`${folder}/a`)).toBe("before");
  });

  context.test("list names the children in order", async (folder) => {
    expect(await context.observer.list(`${folder}/none`)).toEqual({ kind: "missing" });
    expect(await context.observer.list(folder)).toEqual({ kind: "ok", names: [] });
    for (const name of ["b", "c", "a"])
      await context.observer.create(`${folder}/${name}`, bytes(""), "durable");
    await context.observer.create(`${folder}/a/deeper`, bytes(""), "durable");
    expect(await context.observer.list(folder)).toEqual({ kind: "ok", names: ["a", "b", "c"] });
    const root = await context.observer.list("/");
    expect(root.kind === "ok" && root.names.includes(folder.slice(1))).toBe(true);
  });

  context.test("multi does all or nothing, and says what it stumbled over", async (folder) => {
    const [a, b, c] = [`${folder}/a`, `${folder}/b`, `${folder}/c`];
    await context.observer.create(a, bytes("a0"), "durable");
    await context.observer.create(b, bytes("b0"), "durable");
    const attempt = (version: number) =>
      context.observer.multi([
        { kind: "check", path: a, version: 0 },
        { kind: "write", path: b, data: bytes("b1"), version },
        { kind: "create", path: c, data: bytes("c0"), lifetime: "durable" },
      ]);
    expect(await attempt(1)).toEqual({ kind: "conflict", cause: "version", index: 1 });
    expect([await context.dataOf(b), await context.dataOf(c)]).toEqual(["b0", "missing"]);
    expect(await attempt(0)).toEqual({ kind: "ok" });
    expect([await context.dataOf(b), await context.dataOf(c)]).toEqual(["b1", "c0"]);
    expect(await context.observer.read(b)).toMatchObject({ version: 1 });
    expect(
      await context.observer.multi([
        { kind: "remove", path: a, version: 0 },
        { kind: "create", path: c, data: bytes("c1"), lifetime: "durable" },
      ]),
    ).toEqual({ kind: "conflict", cause: "exists", index: 1 });
    expect(await context.dataOf(a)).toBe("a0");
  });

  context.test("version 0 in a multi is a condition like any other", async (folder) => {
    const path = `${folder}/a`;
    await context.observer.create(path, bytes("x"), "durable");
    await context.observer.write(path, bytes("y"), 0);
    const conflict = { kind: "conflict", cause: "version", index: 0 } as const;
    const write = { kind: "write", path, data: bytes("z"), version: 0 } as const;
    expect(await context.observer.multi([write])).toEqual(conflict);
    expect(await context.observer.multi([{ kind: "check", path, version: 0 }])).toEqual(conflict);
    expect(await context.observer.multi([{ kind: "remove", path, version: 0 }])).toEqual(conflict);
    expect(await context.dataOf(path)).toBe("y");
  });

  context.test("of two writers of one version exactly one succeeds", async (folder) => {
    const path = `${folder}/counter`;
    await context.observer.create(path, bytes("0"), "durable");
    const winners = new Map<number, number>();
    const increment = async (coordinator: Coordinator, times: number): Promise<void> => {
      for (let done = 0; done < times; ) {
        const read = await coordinator.read(path);
        if (read.kind !== "ok") throw new Error(read.kind);
        const next = bytes(`${Number(text(read.data)) + 1}`);
        const outcome = await coordinator.write(path, next, read.version);
        if (outcome.kind !== "ok") continue;
        winners.set(outcome.version, (winners.get(outcome.version) ?? 0) + 1);
        done++;
      }
    };
    const other = (await context.open()).coordinator;
    await context.settled(Promise.all([increment(context.observer, 25), increment(other, 25)]));
    expect(await context.dataOf(path)).toBe("50");
    expect([...winners.keys()].sort((x, y) => x - y)).toEqual(
      Array.from({ length: 50 }, (_, i) => i + 1),
    );
    expect(new Set(winners.values())).toEqual(new Set([1]));
  });

  context.test("operations take effect in the order of the calls", async (folder) => {
    const path = `${folder}/a`;
    const outcomes = [
      context.observer.create(path, bytes("0"), "durable"),
      context.observer.write(path, bytes("1"), 0),
      context.observer.write(path, bytes("2"), 1),
      context.observer.read(path),
      context.observer.remove(path, 2),
      context.observer.read(path),
    ];
    const kinds = (await context.settled(Promise.all<{ kind: string }>(outcomes))).map(
      ({ kind }) => kind,
    );
    expect(kinds).toEqual(["ok", "ok", "ok", "ok", "ok", "missing"]);
    expect(await outcomes[3]).toMatchObject({ data: bytes("2"), version: 2 });
  });

  context.test("a fresh read sees what others were answered before", async (folder) => {
    const path = `${folder}/a`;
    await context.observer.create(path, bytes("0"), "durable");
    const other = (await context.open()).coordinator;
    for (let version = 0; version < 10; version++) {
      await context.settled(context.observer.write(path, bytes("x"), version));
      const read = await context.settled(other.read(path, { fresh: true }));
      expect(read).toMatchObject({ kind: "ok", version: version + 1 });
    }
  });

  context.test("a watch fires once for each time it was armed", async (folder) => {
    const path = `${folder}/a`;
    const other = (await context.open()).coordinator;
    let fired = 0;
    const onChange = () => {
      fired++;
    };
    const after = (count: number) => context.until(`${count} notifications`, () => fired >= count);
    await context.settled(context.observer.read(path, { onChange }));
    await context.settled(context.observer.read(path, { onChange }));
    await context.settled(other.create(path, bytes("0"), "durable"));
    await after(1);
    await context.settled(other.write(path, bytes("1"), 0));
    expect(await context.settled(context.observer.read(path, { onChange }))).toMatchObject({
      kind: "ok",
    });
    await context.settled(other.write(path, bytes("2"), 1));
    await after(2);
    expect(await context.settled(context.observer.read(path, { onChange }))).toMatchObject({
      version: 2,
    });
    await context.settled(other.remove(path, 2));
    await after(3);
    expect(await context.settled(context.observer.read(path))).toEqual({ kind: "missing" });
    expect(fired).toBe(3);
  });

  context.test(
    "a watch on a list fires when a child comes or goes, or the list itself",
    async (folder) => {
      const path = `${folder}/a`;
      const other = (await context.open()).coordinator;
      let fired = 0;
      const onChange = () => {
        fired++;
      };
      const after = (count: number) =>
        context.until(`${count} notifications`, () => fired >= count);
      expect(await context.settled(context.observer.list(path, { onChange }))).toEqual({
        kind: "missing",
      });
      await context.settled(other.create(path, bytes(""), "durable"));
      await after(1);
      await context.settled(context.observer.list(path, { onChange }));
      await context.settled(other.write(path, bytes("x"), 0));
      await context.settled(other.create(`${path}/b`, bytes(""), "durable"));
      await after(2);
      expect(await context.settled(context.observer.list(path, { onChange }))).toMatchObject({
        names: ["b"],
      });
      await context.settled(other.remove(`${path}/b`, 0));
      await after(3);
      expect(await context.settled(context.observer.list(path))).toMatchObject({ names: [] });
      expect(fired).toBe(3);
    },
  );

  context.test("ensurePath makes what is missing", async (folder) => {
    const path = `${folder}/a/b/c`;
    expect(await context.settled(ensurePath(context.observer, path))).toMatchObject({ kind: "ok" });
    expect(await context.settled(ensurePath(context.observer, path))).toMatchObject({ kind: "ok" });
    expect(await context.dataOf(path)).toBe("");
  });
}
