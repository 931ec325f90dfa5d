/** Comparing a password in time that says nothing about how much of it was right. */
import { createHash, timingSafeEqual } from "node:crypto";

function digest(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}

/** Whether `user` with `password` may come in; there is one user, and no password when `required` is empty. */
export function isAccepted(user: string, password: string, required: string): boolean {
  if (user !== "default") return false;
  return required === "" || timingSafeEqual(digest(password), digest(required));
}
