/**
 * Runs isolated: two hosts, servers on two ports of one of them, and what the other one reaches under each cut. Prints
 * the names of the connections that worked, a line for each cut.
 */
import { between, type Cut, LabNetwork } from "./lab-network.ts";

const PORTS = [7000, 7001];
const CONNECT_MS_MAX = 1500;

const network = new LabNetwork(["a", "b", "c"]);
const address = network.addressOf("b");
const serve = `for (const port of ${JSON.stringify(PORTS)})
  Bun.listen({ hostname: "${address}", port, socket: { data() {} } });
console.log("serving");`;
const server = Bun.spawn([...network.under("b"), process.execPath, "-e", serve], {
  stdout: "pipe",
});
await server.stdout.getReader().read();

/** Whether a connection from a host gets through; the time that a process takes to start does not count. */
async function reaches(host: string, port: number): Promise<boolean> {
  const connect = `setTimeout(() => process.exit(1), ${CONNECT_MS_MAX});
await Bun.connect({ hostname: "${address}", port: ${port}, socket: { data() {} } });
process.exit(0);`;
  const command = [...network.under(host), process.execPath, "-e", connect];
  return (await Bun.spawn(command, { stderr: "ignore" }).exited) === 0;
}

async function report(name: string): Promise<void> {
  const tried = ["a", "c"].flatMap((host) => PORTS.map((port) => [host, port] as const));
  const results = await Promise.all(tried.map(([host, port]) => reaches(host, port)));
  const worked = tried.filter((_, index) => results[index]).map((pair) => pair.join(":"));
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
