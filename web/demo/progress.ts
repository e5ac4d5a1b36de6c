import type { RestoreProgress } from "../index.ts";
import { byId, setText } from "./dom.ts";
import { bytes, count } from "./format.ts";

/** How far a restore is. */
export function showProgress(progress: RestoreProgress): void {
  const { objects, totalObjects, bytes: done, totalBytes, pages } = progress;
  byId<HTMLProgressElement>("progress").value = totalBytes === 0 ? 1 : done / totalBytes;
  setText(
    "summary",
    `Restoring: ${objects} of ${totalObjects} objects, ${bytes(done)}, ${count(pages)} pages`,
  );
}

export function clearProgress(): void {
  byId<HTMLProgressElement>("progress").value = 0;
}
