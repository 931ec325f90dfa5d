/** Looking for any key over several turns: rare, where thousands of deleted or expired keys are still in tables. */
import type { ScanPage } from "./scan.ts";
import type { Store } from "./store.ts";

/** The first key from `cursor` on, or else the first one of all. */
export async function firstKeyFrom(store: Store, cursor: number): Promise<Buffer | undefined> {
  for (const from of [cursor, 0]) {
    let page: ScanPage = { next: from, keys: [] };
    do {
      await store.runUnit(() => {
        page = store.scan(page.next, 1);
      });
      if (page.keys.length > 0) return page.keys[0]!.key;
      await store.nextTurn();
    } while (page.next !== 0);
  }
  return undefined;
}
