/** What the browser grants this site's storage, of which OPFS and IndexedDB are a part. */
export interface StorageStatus {
  /** The browser will not clear it when it needs room. Ask for that with `persistStorage` in the page. */
  readonly persisted: boolean;
  /** Bytes in use, and how many there may be, as the browser estimates. */
  readonly usage: number;
  readonly quota: number;
}

/** Null where the browser does not say. */
export async function readStorage(): Promise<StorageStatus | null> {
  try {
    const { storage } = navigator;
    const [persisted, { usage = 0, quota = 0 }] = await Promise.all([
      storage.persisted(),
      storage.estimate(),
    ]);
    return { persisted, usage, quota };
  } catch {
    return null;
  }
}
