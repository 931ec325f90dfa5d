/**
 * flock(2), which the runtime's own API lacks, from the C library that the process has loaded anyway.
 *
 * The lock belongs to the open file, not to the process: opening and closing the file elsewhere leaves it alone, and
 * the kernel ends it when the descriptor is closed, however its process dies. Descriptors are closed on exec, so no
 * child keeps it.
 */
import { dlopen, FFIType, read } from "bun:ffi";

export const LockMode = { SHARED: 1, EXCLUSIVE: 2 } as const;
export type LockMode = (typeof LockMode)[keyof typeof LockMode];

/** Fail instead of waiting. */
const LOCK_NB = 4;
const FLOCK = { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } as const;
const ERRNO = { args: [], returns: FFIType.ptr } as const;

interface Library {
  flock(descriptor: number, operation: number): number;
  errno(): number;
  /** The errno of a lock that somebody else has. */
  readonly wouldBlock: number;
}

let library: Library | undefined;

/** Locks the open file `descriptor` if nobody else's lock forbids it; false: one does. Throws when it cannot be locked. */
export function tryLock(descriptor: number, mode: LockMode): boolean {
  library ??= load();
  if (library.flock(descriptor, mode | LOCK_NB) === 0) return true;
  const errno = library.errno();
  if (errno === library.wouldBlock) return false;
  throw new Error(`flock failed with error ${errno}`);
}

function load(): Library {
  if (process.platform === "darwin") {
    const { symbols } = dlopen("libSystem.B.dylib", { flock: FLOCK, __error: ERRNO });
    return {
      flock: symbols.flock,
      errno: () => read.i32(symbols.__error()!, 0),
      wouldBlock: 35,
    };
  }
  const { symbols } = loadFirst(LINUX_LIBRARIES);
  return {
    flock: symbols.flock,
    errno: () => read.i32(symbols.__errno_location()!, 0),
    wouldBlock: 11,
  };
}

const MUSL_MACHINE: Partial<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };
/** glibc's name first: in a process with glibc it is there and loaded, and no second library is ever loaded beside it. */
const LINUX_LIBRARIES = ["libc.so.6", `libc.musl-${MUSL_MACHINE[process.arch]}.so.1`];

function loadFirst(names: readonly string[]) {
  let failure: unknown;
  for (const name of names) {
    try {
      return dlopen(name, { flock: FLOCK, __errno_location: ERRNO });
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(`no C library with flock: ${(failure as Error).message}`, { cause: failure });
}
