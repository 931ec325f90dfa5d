/**
 * Golden files: readable scripts with their expected output.
 *
 *   # a comment, kept
 *   command arguments
 *   input lines
 *   ----
 *   expected lines
 *
 * Cases end at an empty line, so neither input nor output may contain one. A run with DKV_REWRITE_GOLDEN=1 writes
 * what the handler answers into the file instead of comparing.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

export interface GoldenCase {
  /** First word of the first line. */
  readonly command: string;
  /** The words after it. */
  readonly words: readonly string[];
  /** Those words of the form name=value. */
  readonly options: ReadonlyMap<string, string>;
  readonly input: readonly string[];
  /** Line of the command in the file, from 1. */
  readonly line: number;
}

const SEPARATOR = "----";

interface Block {
  /** Lines up to and with the separator. */
  readonly head: readonly string[];
  readonly expected: readonly string[];
  readonly test: GoldenCase | undefined;
}

/** Defines one test per case of the file. The handler answers the output, without empty lines. */
export function goldenTests(path: string, handle: (test: GoldenCase) => string): void {
  const blocks = parse(readFileSync(path, "utf8"));
  if (process.env["DKV_REWRITE_GOLDEN"] === "1") {
    writeFileSync(path, render(blocks, handle));
  }
  for (const block of blocks) {
    const golden = block.test;
    if (golden === undefined) continue;
    test(`${basename(path)}:${golden.line} ${golden.command}`, () => {
      const actual = handle(golden);
      if (process.env["DKV_REWRITE_GOLDEN"] === "1") return;
      expect(actual).toBe(block.expected.join("\n"));
    });
  }
}

function render(blocks: readonly Block[], handle: (test: GoldenCase) => string): string {
  const texts = blocks.map((block) =>
    block.test === undefined
      ? block.head.join("\n")
      : [...block.head, handle(block.test)].join("\n").trimEnd(),
  );
  return `${texts.join("\n\n")}\n`;
}

function parse(text: string): Block[] {
  const blocks: Block[] = [];
  let lines: string[] = [];
  let start = 1;
  const rows = text.split("\n");
  rows.forEach((row, index) => {
    if (row.trim() !== "") {
      if (lines.length === 0) start = index + 1;
      lines.push(row);
    }
    if ((row.trim() === "" || index === rows.length - 1) && lines.length > 0) {
      blocks.push(parseBlock(lines, start));
      lines = [];
    }
  });
  return blocks;
}

function parseBlock(lines: readonly string[], start: number): Block {
  const commandAt = lines.findIndex((line) => !line.startsWith("#"));
  if (commandAt === -1) return { head: lines, expected: [], test: undefined };
  const separator = lines.indexOf(SEPARATOR);
  if (separator === -1) throw new Error(`golden case at line ${start} has no ${SEPARATOR}`);
  const [command = "", ...words] = lines[commandAt]!.trim().split(/\s+/);
  const options = new Map(
    words
      .filter((word) => word.includes("="))
      .map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]),
  );
  return {
    head: lines.slice(0, separator + 1),
    expected: lines.slice(separator + 1),
    test: {
      command,
      words,
      options,
      input: lines.slice(commandAt + 1, separator),
      line: start + commandAt,
    },
  };
}
