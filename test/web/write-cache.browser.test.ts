import { writeCacheSuite } from "../suites/write-cache.ts";
import { IdbWriteCache } from "../../web/write-cache.ts";

writeCacheSuite("IdbWriteCache", async () => {
  const name = crypto.randomUUID();
  return { cache: new IdbWriteCache(name), reopen: async () => new IdbWriteCache(name) };
});
