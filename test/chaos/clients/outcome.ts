/**
 * What an error tells about the command that got it: refused, it certainly had no effect; unknown, it may have had
 * one, or may have it yet.
 */

const REFUSALS = [
  "MOVED",
  "ASK",
  "TRYAGAIN",
  "CLUSTERDOWN",
  "NOREPLICAS",
  "READONLY",
  "MASTERDOWN",
  "LOADING",
  "MISCONF",
];

/** What ioredis puts before the last of several refusals. */
const GIVEN_UP = /^Too many Cluster redirections\. Last error: (?:ReplyError: )?/;

export function isRefusal(message: string): boolean {
  const [word] = message.replace(GIVEN_UP, "").split(" ", 1);
  return REFUSALS.includes(word!);
}
