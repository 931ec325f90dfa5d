/** `npm run chaos [-- arguments]`: installs what a campaign of faults needs and runs test/chaos/main.ts. */
import { findBun, installNeeds, installPackages, replaceBy } from "./toolchain.mjs";

installPackages({ dev: true });
installNeeds("test");
replaceBy(findBun(), ["test/chaos/main.ts", ...process.argv.slice(2)]);
