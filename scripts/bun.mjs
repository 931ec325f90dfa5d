/**
 * `node scripts/bun.mjs <arguments>`: bun with these arguments, after installing what running dkv needs.
 * `npm start` is this with src/main.ts.
 */
import { findBun, installPackages, replaceBy } from "./toolchain.mjs";

installPackages({ dev: false });
replaceBy(findBun(), process.argv.slice(2));
