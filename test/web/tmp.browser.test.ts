import { cdp } from "vitest/browser";
import { expect, test } from "vitest";
import { IdbWriteCache } from "../../web/write-cache.ts";
import { append, entryOf, record } from "../suites/write-cache.ts";

test("quota", async () => {
  const session = cdp() as any;
  const origin = location.origin;
  const { usage } = await navigator.storage.estimate();
  await session.send("Storage.overrideQuotaForOrigin", { origin: origin + '/', quotaSize: (usage ?? 0) + 1_000_000 });
  console.log(origin, top!.location.href, JSON.stringify(await navigator.storage.estimate()), JSON.stringify(await session.send("Storage.getUsageAndQuota", { origin })), JSON.stringify(await session.send("Storage.getUsageAndQuota", { origin: origin + "/" })));
  const cache = new IdbWriteCache("quota");
  await cache.load();
  let e: any = null; let n = 0;
  try { for (n = 0; n < 100; n++) { const s = cache.append(); for (let k=0;k<4;k++) await s.write(crypto.getRandomValues(new Uint8Array(50_000))); await s.commit({ ...entryOf(n, n + 1), size: 200_000 }, record(n + 1)); } } catch (x) { e = x; }
  console.log(n, String(e), e?.full, e?.cause?.name);
  let e2: any = null;
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 10 });
  try { await cache.savePosition(record(n, { fingerprint: "x" })); } catch (x) { e2 = x; }
  console.log(JSON.stringify(await navigator.storage.estimate()), JSON.stringify(await session.send("Storage.getUsageAndQuota", { origin })));
  console.log("save", String(e2));
  try { await cache.markResync("full"); console.log("marked"); } catch (x) { console.log("mark", String(x)); }
  try { await cache.dropBacklog(); console.log("dropped"); } catch (x) { console.log("drop", String(x)); }
  try { await cache.ack(cache.entries()[0]!); console.log("acked"); } catch (x) { console.log("ack", String(x)); }
  console.log(JSON.stringify((await new IdbWriteCache("quota").load())));
  await session.send("Storage.overrideQuotaForOrigin", { origin });
  expect(1).toBe(1);
});
