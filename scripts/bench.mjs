/** `npm run bench [-- arguments]`: installs what benchmarks need and runs bench/main.ts. */
import { findBun, installNeeds, installPackages, replaceBy } from "./toolchain.mjs";

installPackages({ dev: true });
installNeeds("bench");
replaceBy(findBun(), ["bench/main.ts", ...process.argv.slice(2)]);
