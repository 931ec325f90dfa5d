/** Names that clients give themselves and their libraries: printable ASCII without spaces, since CLIENT LIST shows them. */
export const NAME_ERROR = "ERR Client names cannot contain spaces, newlines or special characters.";

export function isValidName(name: string): boolean {
  return /^[!-~]*$/.test(name);
}
