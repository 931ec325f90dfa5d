import { expect, test } from "bun:test";
import { RawConnection } from "../support/raw-connection.ts";
import { startServer } from "../support/server-process.ts";

const VALUE_BYTES = 1000;
const KEYS = 4200;

test("a write that is refused after it has begun is answered although nobody else writes", async () => {
  const server = await startServer((port, directory) => [
    process.execPath,
    "src/main.ts",
    ...["--port", `${port}`, "--dir", directory, "--maxmemory", "128mb"],
  ]);
  try {
    const connection = await RawConnection.open(server.port);
    const value = "x".repeat(VALUE_BYTES);
    let request = `*${1 + 2 * KEYS}\r\n$4\r\nMSET\r\n`;
    for (let i = 0; i < KEYS; i++) {
      const key = `key:${i}`;
      request += `$${key.length}\r\n${key}\r\n$${VALUE_BYTES}\r\n${value}\r\n`;
    }
    connection.send(Buffer.from(request));
    expect(`${await connection.reply()}`).toStartWith("-ERR the transaction is larger than");
    connection.send(Buffer.from("EXISTS key:0\r\n"));
    expect(`${await connection.reply()}`).toBe(":0\r\n");
    connection.close();
  } finally {
    await server.stop();
  }
}, 20_000);
