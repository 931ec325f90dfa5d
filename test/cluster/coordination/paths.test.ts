/** Where documents are, and what a path may be. */
import { expect, test } from "bun:test";
import { AssertionError } from "../../../src/base/assert.ts";
import { isPath, parentOf } from "../../../src/cluster/coordination/coordinator.ts";
import {
  chrootOf,
  FOLDER_PATHS,
  idsOf,
  movePath,
  nodePath,
  presencePath,
  setPath,
} from "../../../src/cluster/coordination/paths.ts";

const ID = "0123456789abcdef0123456789abcdef01234567";

test("every document lies in a folder that the first node makes", () => {
  for (const path of [nodePath(ID), presencePath(ID), setPath(ID), movePath(ID)]) {
    expect(isPath(path)).toBe(true);
    expect(FOLDER_PATHS).toContain(parentOf(path));
  }
  expect(new Set(FOLDER_PATHS).size).toBe(4);
});

test("nodePath takes nothing but an id, so that no document can name a path", () => {
  for (const id of ["", "../cluster", ID.toUpperCase(), `${ID}0`, `${ID.slice(1)}/`]) {
    expect(() => nodePath(id)).toThrow(AssertionError);
  }
});

test("chrootOf takes plain names", () => {
  expect(chrootOf("main")).toBe("/dkv/main");
  for (const name of ["", ".", "a/b", "-a", "a".repeat(65)]) {
    expect(() => chrootOf(name)).toThrow(AssertionError);
  }
});

test("idsOf leaves out what is no id", () => {
  expect(idsOf(["x", ID, `${ID} `])).toEqual([ID]);
});

test("isPath refuses what ZooKeeper would", () => {
  for (const path of ["/", "/a", "/a/b.c", "/..a", "/a-_:~!"])
    expect([path, isPath(path)]).toEqual([path, true]);
  for (const path of [
    "",
    "a",
    "/a/",
    "//",
    "/a//b",
    "/.",
    "/a/..",
    "/a/./b",
    "/a b",
    "/é",
    "/a\n",
  ]) {
    expect([path, isPath(path)]).toEqual([path, false]);
  }
});

test("parentOf ends at the root", () => {
  expect([parentOf("/a/b"), parentOf("/a"), parentOf("/")]).toEqual(["/a", "/", "/"]);
});
