/** --help, --version and the generated page. */
import { expect, test } from "bun:test";
import { DIRECTIVE_NAMES } from "../../src/config/directives.ts";
import { configurationPage, helpText, informationFor } from "../../src/config/help.ts";

const PAGE = new URL("../../docs/configuration.md", import.meta.url);

test("docs/configuration.md is what `npm run docs` would write", async () => {
  expect(await Bun.file(PAGE).text()).toBe(configurationPage());
});

test("helpText names every directive within 100 columns", () => {
  const text = helpText("npm start --");
  for (const name of DIRECTIVE_NAMES) expect(text).toContain(`  --${name}\n`);
  for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
});

test("informationFor answers --help and --version only", () => {
  expect(informationFor(["--help"], "dkv", "1.2.3")).toBe(helpText("dkv"));
  expect(informationFor(["--version"], "dkv", "1.2.3")).toBe(`dkv 1.2.3 (bun ${Bun.version})\n`);
  expect(informationFor(["--port", "1"], "dkv", "1.2.3")).toBeUndefined();
  expect(informationFor([], "dkv", "1.2.3")).toBeUndefined();
});
