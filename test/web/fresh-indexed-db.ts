/** Chromium's, https://wicg.github.io/storage-buckets */
interface StorageBuckets {
  readonly storageBuckets: { open(name: string): Promise<{ readonly indexedDB: IDBFactory }> };
}

/** One that Chromium does not know yet: of a known one it remembers what room was left. */
export async function freshIndexedDb(): Promise<IDBFactory> {
  const { storageBuckets } = navigator as unknown as StorageBuckets;
  return (await storageBuckets.open(crypto.randomUUID())).indexedDB;
}
