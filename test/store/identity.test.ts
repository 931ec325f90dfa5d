import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { CorruptionError } from "../../src/base/errors.ts";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { openIdentity } from "../../src/store/identity.ts";

test("openIdentity keeps what it wrote, and refuses a directory with data that has lost it", () => {
  const directory = mkdtempSync(`${tmpdir()}/dkv-identity-`);
  const fileSystem = new DiskFileSystem();
  try {
    const random = new Uint8Array(24).map((_, index) => index + 1);
    const identity = openIdentity(fileSystem, directory, random);
    expect(openIdentity(fileSystem, directory, new Uint8Array(24))).toEqual(identity);
    fileSystem.makeDirectory(`${directory}/tables`);
    fileSystem.open(`${directory}/tables/CURRENT`, "create").close();
    unlinkSync(`${directory}/IDENTITY`);
    expect(() => openIdentity(fileSystem, directory, random)).toThrow(CorruptionError);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
