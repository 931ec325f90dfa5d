/** `npm run docs`: writes docs/configuration.md from the directive table. */
import { configurationPage } from "../src/config/help.ts";

await Bun.write(new URL("../docs/configuration.md", import.meta.url), configurationPage());
