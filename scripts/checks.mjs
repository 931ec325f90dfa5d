/** `npm run check`, and the first part of `npm test`: types, then format, lint and layers. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installPackages, ROOT, say } from "./toolchain.mjs";

const CHECKS = [
  { name: "types", script: "typescript/bin/tsc", args: ["--noEmit", "-p", "."] },
  { name: "lint", script: "@biomejs/biome/bin/biome", args: ["check"] },
];

/** REQUIRES: installPackages({ dev: true }). Runs every check; `names`: those that failed. */
export function runChecks() {
  const names = [];
  for (const check of CHECKS) {
    const script = join(ROOT, "node_modules", check.script);
    const result = spawnSync(process.execPath, [script, ...check.args], {
      cwd: ROOT,
      stdio: ["ignore", 2, 2],
    });
    if (result.status !== 0) {
      names.push(check.name);
      say(`dkv: check failed: ${check.name}`);
    }
  }
  return { passed: CHECKS.length - names.length, failed: names.length, names };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  installPackages({ dev: true });
  process.exitCode = runChecks().failed === 0 ? 0 : 1;
}
