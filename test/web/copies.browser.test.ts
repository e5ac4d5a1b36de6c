import type { SAHPoolUtil } from "@sqlite.org/sqlite-wasm";
import { expect, test } from "vitest";
import * as original from "../../web/pool.ts";

test("a second copy of the package does not take a database that the first has in a pool of the app's", async () => {
  const url = new URL("../../web/pool.ts?copy", import.meta.url).href;
  const copy = (await import(/* @vite-ignore */ url)) as typeof original;
  expect(copy.claimDatabase).not.toBe(original.claimDatabase);
  const pool = { getFileNames: () => [], reserveMinimumCapacity: async () => 0 } as unknown as SAHPoolUtil;
  const claim = await original.claimDatabase(pool, "/data.db");
  await expect(copy.claimDatabase(pool, "/data.db")).rejects.toMatchObject({ code: "SLUICE_IN_USE" });
  claim.release();
  (await copy.claimDatabase(pool, "/data.db")).release();
});
