/** Answers for people and programs alike: one line of text, an error's with Redis's error word first. */

export function textResponse(
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", ...headers },
  });
}

/** HTTP's status by the first word of an error reply. */
const STATUS_BY_WORD: Readonly<Record<string, number>> = {
  ERR: 400,
  WRONGTYPE: 409,
  NOAUTH: 401,
  DENIED: 403,
  OOM: 507,
  MISCONF: 507,
  // What may be tried again: it has certainly not been done.
  LOADING: 503,
  CLUSTERDOWN: 503,
  TRYAGAIN: 503,
  NOREPLICAS: 503,
  READONLY: 503,
  // It may have been done.
  UNKNOWN: 504,
};
const RETRY_LATER = { "retry-after": "1" };

/** An error reply, without its marker. */
export function errorResponse(error: string): Response {
  const status = STATUS_BY_WORD[error.split(" ", 1)[0]!] ?? 500;
  return textResponse(status, error, status === 503 ? RETRY_LATER : {});
}
