/** What the server says of its commands (COMMAND DOCS), for completion and help. */
import type { FollowingClient } from "./following-client.ts";
import { listOf, mapOf, type ReplyValue } from "./reply-value.ts";

interface CommandDoc {
  readonly summary: string;
  readonly since: string;
  readonly group: string;
  /** Its arguments as one writes them. */
  readonly syntax: string;
}

/** `key`, `[EX seconds | PX milliseconds]`, `key value [key value …]`. */
function argumentSyntax(value: ReplyValue): string {
  const argument = mapOf(value);
  const flags = listElements(argument.get("flags"));
  const inner = listElements(argument.get("arguments")).map(argumentSyntax);
  const token = argument.get("token");
  let text: string;
  if (argument.get("type") === "oneof") text = inner.join("|");
  else if (argument.get("type") === "block") text = inner.join(" ");
  else if (argument.get("type") === "pure-token") text = "";
  else text = `${argument.get("display_text") ?? argument.get("name")}`;
  if (flags.includes("multiple")) text = `${text} [${text} ...]`;
  if (typeof token === "string") text = text === "" ? token : `${token} ${text}`;
  return flags.includes("optional") ? `[${text}]` : text;
}

function listElements(value: ReplyValue | undefined): readonly ReplyValue[] {
  return Array.isArray(value) ? value : [];
}

export class CommandDocs {
  readonly #commands = new Map<string, CommandDoc>();

  private constructor(reply: ReplyValue) {
    this.#add(reply);
  }

  static async read(client: FollowingClient): Promise<CommandDocs> {
    const reply = await client.connection.request(["COMMAND", "DOCS"]);
    return new CommandDocs(listOf(reply));
  }

  #add(reply: ReplyValue | undefined): void {
    for (const [name, value] of mapOf(reply)) {
      const doc = mapOf(value);
      this.#commands.set(name.replace("|", " ").toUpperCase(), {
        summary: `${doc.get("summary") ?? ""}`,
        since: `${doc.get("since") ?? ""}`,
        group: `${doc.get("group") ?? ""}`,
        syntax: listElements(doc.get("arguments")).map(argumentSyntax).join(" "),
      });
      this.#add(doc.get("subcommands"));
    }
  }

  /** What the words typed so far may become: whole lines, in order. */
  complete(line: string): string[] {
    const typed = line.toUpperCase();
    const words = typed.split(" ").length;
    return [...this.#commands.keys()]
      .filter((name) => name.startsWith(typed) && name.split(" ").length === words)
      .sort()
      .map((name) => (line === line.toLowerCase() ? name.toLowerCase() : name));
  }

  /** What HELP prints of a command, or of all that begin with its name; empty: there is none. */
  help(name: string): string {
    const wanted = name.toUpperCase();
    const found = [...this.#commands].filter(
      ([each]) => each === wanted || each.startsWith(`${wanted} `),
    );
    return found
      .map(([each, { summary, since, group, syntax }]) =>
        [`  ${each} ${syntax}`.trimEnd(), `  ${summary}`, `  since ${since}, ${group}`].join("\n"),
      )
      .join("\n\n");
  }
}
