import { StoreError } from "../errors.ts";
import { compareKeys, type ObjectInfo } from "./object-store.ts";

/**
 * Passes a listing on as it comes over the network. Throws StoreError "unavailable" where it is not in order, since one
 * that repeats itself would never end, and where it holds what is no number.
 */
export async function* checkedList(
  objects: AsyncIterable<ObjectInfo>,
): AsyncGenerator<ObjectInfo, void, undefined> {
  let last: string | null = null;
  for await (const info of objects) {
    const { key, size, lastModified, age } = info;
    if (last !== null && compareKeys(key, last) <= 0)
      throw new StoreError("unavailable", `the store lists ${key} after ${last}, which is not in order`, {
        key,
      });
    const numbers = [size, lastModified, age];
    if (!numbers.every((number) => Number.isFinite(number)) || size < 0 || age < 0)
      throw new StoreError("unavailable", `the store lists ${key} without its size or its time`, { key });
    last = key;
    yield info;
  }
}
