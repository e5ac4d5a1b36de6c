/** Where this browser keeps the notes. The page has to know it only to wipe it. */
export const place = { directory: "sluice-demo", cacheDir: "sluice-demo", dbPath: "/notes.db" } as const;

/** Tries while a worker that was terminated lets go of its handles. */
const TRIES = 50;
const PAUSE_MS = 100;

/** Deletes all of it, as a browser does that is short of room or told to clear a site's data. */
export async function wipe(): Promise<void> {
  await Promise.all([removeDirectory(), deleteDatabase()]);
}

async function removeDirectory(): Promise<void> {
  const root = await navigator.storage.getDirectory();
  for (let tries = 1; ; tries++) {
    try {
      return await root.removeEntry(place.directory, { recursive: true });
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotFoundError") return;
      if (tries === TRIES) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function deleteDatabase(): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(place.cacheDir);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
  });
}
