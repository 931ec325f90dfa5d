/**
 * IDENTITY: what a data directory is, written once when it is created and never changed.
 *
 *   {"format":1,"directoryId":"<32 hex digits>","hashSeed":[low,high]}
 */
import { z } from "zod";
import { CorruptionError } from "../base/errors.ts";
import type { FileSystem } from "../base/file-system.ts";

const FILE_NAME = "IDENTITY";
const FORMAT = 1;
const FILE_BYTES_MAX = 4096;
const seedWord = z.int32();
const schema = z.strictObject({
  format: z.literal(FORMAT),
  directoryId: z.string().regex(/^[0-9a-f]{32}$/),
  hashSeed: z.tuple([seedWord, seedWord]),
});

export type Identity = z.infer<typeof schema>;

/** Reads the identity of a directory, or gives a new directory one. `random` holds at least 24 random bytes. */
export function openIdentity(
  fileSystem: FileSystem,
  directory: string,
  random: Uint8Array,
): Identity {
  const path = `${directory}/${FILE_NAME}`;
  if (fileSystem.exists(path)) return readIdentity(fileSystem, directory);
  // Without its hash seed no key of existing data could be found again.
  if (fileSystem.exists(`${directory}/tables/CURRENT`)) {
    throw new CorruptionError("the directory holds data, but its identity is missing", { path });
  }
  const view = new DataView(random.buffer, random.byteOffset, random.byteLength);
  const identity: Identity = {
    format: FORMAT,
    directoryId: Buffer.from(random.subarray(0, 16)).toString("hex"),
    hashSeed: [view.getInt32(16, true), view.getInt32(20, true)],
  };
  const file = fileSystem.open(`${path}.new`, "create");
  file.write(Buffer.from(`${JSON.stringify(identity)}\n`), 0);
  file.sync();
  file.close();
  fileSystem.rename(`${path}.new`, path);
  fileSystem.syncDirectory(directory);
  return identity;
}

/** Throws CorruptionError when the file is not an identity of this format. */
export function readIdentity(fileSystem: FileSystem, directory: string): Identity {
  const path = `${directory}/${FILE_NAME}`;
  const file = fileSystem.open(path, "read");
  const bytes = Buffer.alloc(Math.min(file.size(), FILE_BYTES_MAX));
  file.read(bytes, 0);
  file.close();
  try {
    return schema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (cause) {
    throw new CorruptionError("the directory's identity cannot be read", {
      path,
      offset: 0,
      cause,
    });
  }
}
