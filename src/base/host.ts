/** The machine and the process, as INFO describes them. */
import * as fs from "node:fs";
import * as os from "node:os";

export interface CpuReading {
  readonly userMicros: number;
  readonly systemMicros: number;
  /** Of the thread that runs commands. */
  readonly mainUserMicros: number;
  readonly mainSystemMicros: number;
}

export interface Host {
  readonly pid: number;
  /** Name, release and architecture of the system. */
  readonly system: string;
  readonly memoryBytes: number;
  readonly executable: string;
  readonly runtime: string;
  /** Of the kernel: another one after the machine was started anew. */
  readonly bootId: string;
  /** IPv4 addresses that other machines may reach. */
  readonly addresses: readonly string[];
  cpu(): CpuReading;
}

const BOOT_ID = "/proc/sys/kernel/random/boot_id";
/** The kernel's unit in /proc. */
const TICK_MICROS = 10_000;
/** Fields of /proc/<pid>/stat behind the name in parentheses. */
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;

export class SystemHost implements Host {
  readonly pid = process.pid;
  readonly system = `${os.type()} ${os.release()} ${os.machine()}`;
  readonly memoryBytes = os.totalmem();
  readonly executable = process.execPath;
  readonly runtime = `bun-${Bun.version}`;

  get bootId(): string {
    // Where the kernel does not say, every start is taken for one of the machine.
    return fs.existsSync(BOOT_ID) ? fs.readFileSync(BOOT_ID, "latin1").trim() : crypto.randomUUID();
  }

  get addresses(): readonly string[] {
    return Object.values(os.networkInterfaces())
      .flatMap((each) => each ?? [])
      .filter(({ family, internal }) => family === "IPv4" && !internal)
      .map(({ address }) => address);
  }

  cpu(): CpuReading {
    const { user, system } = process.cpuUsage();
    const stat = `/proc/self/task/${this.pid}/stat`;
    if (!fs.existsSync(stat)) {
      return {
        userMicros: user,
        systemMicros: system,
        mainUserMicros: user,
        mainSystemMicros: system,
      };
    }
    const text = fs.readFileSync(stat, "latin1");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return {
      userMicros: user,
      systemMicros: system,
      mainUserMicros: Number(fields[USER_TICKS]) * TICK_MICROS,
      mainSystemMicros: Number(fields[SYSTEM_TICKS]) * TICK_MICROS,
    };
  }
}
