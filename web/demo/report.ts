import type { SqliteReplicator } from "../index.ts";
import { bytes, count } from "./format.ts";
import { fieldsOf, type News } from "./messages.ts";

/** Has a replicator's events told in words. */
export function report(replicator: SqliteReplicator, tell: (news: News) => void): void {
  const log = (text: string) => tell({ log: text });
  const trouble = (error: unknown) => tell({ trouble: fieldsOf(error) });
  let uploading = 0;
  replicator.addEventListener("upload", ({ detail: { position, size } }) =>
    log(`Uploaded up to commit ${count(position.txid)}, ${bytes(size)}`),
  );
  replicator.addEventListener("snapshot-progress", ({ detail: { pages, totalPages } }) => {
    if (uploading === 0) log(`Taking a snapshot of ${count(totalPages)} pages`);
    uploading = pages < totalPages ? pages : 0;
  });
  replicator.addEventListener("snapshot", ({ detail: { position, pages } }) => {
    uploading = 0;
    log(`Snapshot at commit ${count(position.txid)}, ${count(pages)} pages`);
  });
  replicator.addEventListener("resync", ({ detail: { phase, reason } }) =>
    log(phase === "needed" ? `All pages have to go up again: ${reason}` : "All pages are under way"),
  );
  replicator.addEventListener("cache-overflow", ({ detail }) =>
    log(`The queue was full, ${bytes(detail.droppedBytes)} were given up; all pages go up again`),
  );
  replicator.addEventListener("error", ({ detail }) => trouble(detail));
  replicator.addEventListener("fenced", ({ detail }) => trouble(detail));
}
