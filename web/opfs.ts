import { OpfsUnavailableError } from "../src/errors.ts";

/** Throws OpfsUnavailableError, with the reason, where opfs-sahpool cannot work. */
export async function requireOpfs(): Promise<void> {
  if (globalThis.isSecureContext === false)
    throw new OpfsUnavailableError("insecure-context", "Serve the page over https, or from localhost.");
  const storage = globalThis.navigator?.storage as Partial<StorageManager> | undefined;
  if (typeof storage?.getDirectory !== "function")
    throw new OpfsUnavailableError("old-browser", "It needs the origin private file system.");
  // Only dedicated workers have synchronous handles; elsewhere not even the method is there.
  const inWorker = "DedicatedWorkerGlobalScope" in globalThis;
  if (!inWorker)
    throw new OpfsUnavailableError(
      "not-a-dedicated-worker",
      'Create the replicator inside `new Worker(url, { type: "module" })`.',
    );
  if (!("createSyncAccessHandle" in globalThis.FileSystemFileHandle.prototype))
    throw new OpfsUnavailableError("old-browser", "It needs synchronous file handles.");
  try {
    await storage.getDirectory();
  } catch (cause) {
    throw new OpfsUnavailableError("blocked", "Private windows and blocked site data have no storage.", {
      cause,
    });
  }
}
