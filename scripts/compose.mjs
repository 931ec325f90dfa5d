/**
 * `npm run test:compose [-- --keep]`: runs docker-compose.yml for real by test/compose/main.ts, after installing, where
 * that is allowed, what tests need and an engine for containers.
 */
import { findBun, installNeeds, installPackages, replaceBy } from "./toolchain.mjs";

installPackages({ dev: true });
installNeeds("test");
installNeeds("compose");
replaceBy(findBun(), ["test/compose/main.ts", ...process.argv.slice(2)]);
