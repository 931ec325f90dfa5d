/**
 * Runs isolated: two hosts, servers on two ports of one of them, and what the other one reaches under each cut. Prints
 * the names of the connections that worked, a line for each cut.
 */
import { between, type Cut, LabNetwork } from "./lab-network.ts";

const PORTS = [7000, 7001];
const CONNECT_MS_MAX = 700;

const network = new LabNetwork(["a", "b", "c"]);
const address = network.addressOf("b");
const serve = `for (const port of ${JSON.stringify(PORTS)})
  Bun.listen({ hostname: "${address}", port, socket: { data() {} } });
console.log("serving");`;
const server = Bun.spawn([...network.under("b"), process.execPath, "-e", serve], {
  stdout: "pipe",
});
await server.stdout.getReader().read();

/** Whether a connection from a host gets through. */
async function reaches(host: string, port: number): Promise<boolean> {
  const connect = `await Bun.connect({ hostname: "${address}", port: ${port}, socket: { data() {} } });
process.exit(0);`;
  const child = Bun.spawn([...network.under(host), process.execPath, "-e", connect], {
    stderr: "ignore",
  });
  const late = setTimeout(() => child.kill("SIGKILL"), CONNECT_MS_MAX);
  const code = await child.exited;
  clearTimeout(late);
  return code === 0;
}

async function report(name: string): Promise<void> {
  const tried = ["a", "c"].flatMap((host) => PORTS.map((port) => [host, port] as const));
  const worked: string[] = [];
  for (const [host, port] of tried) if (await reaches(host, port)) worked.push(`${host}:${port}`);
  process.stdout.write(`${name}: ${worked.join(" ")}\n`);
}

const cuts: Record<string, readonly Cut[]> = {
  "a and b apart": between(["a"], ["b"]),
  "b apart from all": between(["b"], network.hosts),
  "b does not hear a": [{ from: "a", to: "b" }],
  "a does not hear b": [{ from: "b", to: "a" }],
  "port 7001 between a and b": between(["a"], ["b"], 7001),
};
await report("whole");
for (const [name, cut] of Object.entries(cuts)) {
  network.cut("probe", cut);
  await report(name);
  network.heal("probe");
}
await report("healed");
process.exit(0);
