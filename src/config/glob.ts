/**
 * Redis's glob patterns over names: `*`, `?`, `[abc]`, `[a-z]`, `[^a]` and `\x` for a literal x. A pattern comes
 * from a client, so matching must not take exponential time: only the last `*` is ever tried again.
 */

interface Step {
  readonly isMatch: boolean;
  /** Position in the pattern behind the element. */
  readonly next: number;
}

function matchClass(pattern: string, start: number, character: string): Step {
  let at = start;
  const isNegated = pattern[at] === "^";
  if (isNegated) at++;
  let isFound = false;
  while (at < pattern.length && pattern[at] !== "]") {
    if (pattern[at] === "\\" && at + 1 < pattern.length) at++;
    const low = pattern[at]!;
    let high = low;
    if (pattern[at + 1] === "-" && at + 2 < pattern.length) {
      high = pattern[at + 2]!;
      at += 2;
    }
    const isInside =
      low <= high ? low <= character && character <= high : high <= character && character <= low;
    if (isInside) isFound = true;
    at++;
  }
  return { isMatch: isFound !== isNegated, next: at + 1 };
}

/** One element of the pattern, which is no `*`, against one character. */
function matchOne(pattern: string, at: number, character: string): Step {
  const element = pattern[at]!;
  if (element === "?") return { isMatch: true, next: at + 1 };
  if (element === "[") return matchClass(pattern, at + 1, character);
  const isEscape = element === "\\" && at + 1 < pattern.length;
  const literal = isEscape ? pattern[at + 1]! : element;
  return { isMatch: literal === character, next: at + (isEscape ? 2 : 1) };
}

/** O(pattern.length × name.length). */
export function matchesGlob(pattern: string, name: string): boolean {
  let at = 0;
  let position = 0;
  let afterStar = -1;
  let starPosition = 0;
  while (position < name.length) {
    if (pattern[at] === "*") {
      at++;
      afterStar = at;
      starPosition = position;
      continue;
    }
    const step = at < pattern.length ? matchOne(pattern, at, name[position]!) : undefined;
    if (step?.isMatch === true) {
      at = step.next;
      position++;
    } else if (afterStar === -1) {
      return false;
    } else {
      starPosition++;
      position = starPosition;
      at = afterStar;
    }
  }
  while (pattern[at] === "*") at++;
  return at >= pattern.length;
}
