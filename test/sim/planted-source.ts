/**
 * Mistakes that the simulation must find, put into copies of the source: production code has no switch for them. A
 * text that is no longer there, or there twice, is an error, so the lists follow the code.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

export interface SourceBug {
  readonly name: string;
  /** From the root of the repository. */
  readonly file: string;
  readonly correct: string;
  readonly wrong: string;
}

const ROOT = path.join(import.meta.dirname, "../..");
/** What a simulation needs, tests that are not run included. */
const FOLDERS = ["src", "test/sim", "test/support", "bench/load"];

/** Imports `module` (from the root) of a copy of the source with `bug` in it. */
export async function importWithBug(bug: SourceBug, module: string): Promise<unknown> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-planted-"));
  try {
    for (const each of FOLDERS)
      fs.cpSync(path.join(ROOT, each), path.join(folder, each), { recursive: true });
    fs.symlinkSync(path.join(ROOT, "node_modules"), path.join(folder, "node_modules"));
    const file = path.join(folder, bug.file);
    const text = fs.readFileSync(file, "utf8");
    const places = text.split(bug.correct).length - 1;
    if (places !== 1) throw new Error(`${bug.name}: the text is there ${places} times`);
    fs.writeFileSync(
      file,
      text.replace(bug.correct, () => bug.wrong),
    );
    return await import(path.join(folder, module));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
