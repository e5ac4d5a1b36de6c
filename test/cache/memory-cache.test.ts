import { writeCacheSuite } from "../suites/write-cache.ts";
import { MemoryCache, MemoryCacheStorage } from "./memory-cache.ts";

writeCacheSuite("the tests' memory cache", async () => {
  const storage = new MemoryCacheStorage();
  return { cache: new MemoryCache(storage), reopen: async () => new MemoryCache(storage) };
});
