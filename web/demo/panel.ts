import type { WebReplicationStatus } from "../index.ts";
import { byId, setNumber, setText } from "./dom.ts";
import { bytes, clock, count, seconds } from "./format.ts";
import { drawLag } from "./sparkline.ts";

/** Commits for which a bar that lags behind is empty, at least. */
const SCALE = 20;

/** The furthest that uploads were behind since all was there. */
let furthest = SCALE;

/** Shows where replication stands. */
export function showStatus(status: WebReplicationStatus): void {
  const { captured, cached, uploaded } = status;
  furthest = captured === uploaded ? SCALE : Math.max(furthest, captured - uploaded);
  for (const [id, txid] of Object.entries({ captured, cached, uploaded })) {
    setNumber(id, txid, count(txid));
    byId(`${id}-bar`).style.transform = `scaleX(${1 - (captured - txid) / furthest})`;
  }
  setText("lag", seconds(status.oldestUnuploadedAgeMs));
  drawLag(status.oldestUnuploadedAgeMs);
  setNumber("pending", status.pendingBytes, bytes(status.pendingBytes));
  const { lastSnapshot: snapshot, storage } = status;
  setText(
    "snapshot",
    snapshot === null ? "none yet" : `commit ${count(snapshot.txid)}, ${clock(snapshot.time)}`,
  );
  setText("storage", storage === null ? "–" : `${bytes(storage.usage)} of ${bytes(storage.quota)}`);
  setText("persisted", storage === null ? "–" : storage.persisted ? "no, it is kept" : "yes");
}

/** What the panel said of a worker that is gone. */
export function clearPanel(): void {
  for (const id of ["captured", "cached", "uploaded"]) {
    setNumber(id, 0, "–");
    byId(`${id}-bar`).style.transform = "scaleX(0)";
  }
  for (const id of ["lag", "pending", "snapshot", "storage", "persisted"]) setText(id, "–");
}

/** Where all stands, in one line for people. */
export function summary({ state, captured, uploaded, failedUploads }: WebReplicationStatus): string {
  if (state === "fenced") return "Another browser took over; nothing more is uploaded.";
  if (state === "resync") return "All pages are going up again.";
  if (captured === uploaded) return "Everything you wrote is in the replica.";
  const behind = captured - uploaded;
  const commits = `${count(behind)} ${behind === 1 ? "commit" : "commits"}`;
  return failedUploads > 0 ? `Kept here until the replica is back: ${commits}.` : `On the way: ${commits}.`;
}
