import { ConfigError } from "../../src/errors.ts";
import type { AuditEvent } from "../../src/events.ts";
import type { VerifyReport } from "../../src/verify-report.ts";
import { verifyReplica } from "../index.ts";
import { byteSize, ProgressLine } from "../progress.ts";
import { sharedModule } from "../sqlite-module.ts";
import { compareDatabase } from "../verify.ts";
import { type Command, EXIT_FAILED, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { interruptible } from "./interrupted.ts";
import { openReplica } from "./replica-word.ts";

export const verify: Command = {
  usage: "verify <replica> [--quick] [--against <database>]",
  help: `Checks a whole replica: every object byte by byte, the chain over all levels and snapshots, that each snapshot is what
the objects before it add up to, and that the newest state restores (in a temporary folder) and passes SQLite's
integrity_check. --quick reads headers and indexes only: no pages, no restore. --against compares a database, that nobody
has open, with the newest state, by hashes.

  sluice verify s3://my-bucket/backups/app/
  sluice verify s3://my-bucket/backups/app/ --quick --against /var/lib/app/data.db

JSON: { ok, lineage, quick, objects, bytes, pages, oldest, newest, restored, findings: [{ problem, key, part, txid, message }] }
and with --against also against: { outcome: "equal" | "different" | "unreadable", … }. Problems are claim, damaged, unsupported,
foreign, missing, no-snapshot, gap, fork, different, restore, and stray, which does no harm. Exit code 1 where something is
wrong or differs, 3 without a replica.`,
  options: { quick: { type: "boolean" }, against: { type: "string" } },
  words: [1, 1],
  async run([replica], { json, quick, against }) {
    // SQLite takes no name for a database of its own.
    if (against === "") throw new ConfigError("--against", "needs the path of a database");
    const store = await openReplica(replica!);
    const line = new ProgressLine("verifying");
    let report: VerifyReport;
    try {
      report = await interruptible((signal) =>
        verifyReplica(
          { replica: store },
          {
            quick: quick === true,
            signal,
            onProgress: ({ objects, totalObjects, bytes, totalBytes }) =>
              line.update(bytes / totalBytes, `${objects}/${totalObjects} objects, ${byteSize(bytes)}`),
          },
        ),
      );
    } finally {
      line.clear();
    }
    const { lineage, newest } = report;
    let compared: AuditEvent | null = null;
    if (against !== undefined) {
      if (lineage === null || newest === null)
        throw new ConfigError("--against", `there is nothing to compare with at ${store.url}`);
      compared = await compareDatabase(await sharedModule(), store, { lineage, newest }, `${against}`);
    }
    if (json) console.log(JSON.stringify({ ...report, ...(compared && { against: asJson(compared) }) }));
    else print(store.url, report, compared);
    if (lineage === null && report.findings.length === 0) return EXIT_NOTHING;
    return report.ok && (compared === null || compared.outcome === "equal") ? EXIT_OK : EXIT_FAILED;
  },
};

function asJson(compared: AuditEvent): object {
  return compared.outcome === "unreadable" ? { ...compared, error: compared.error.message } : compared;
}

function print(url: string, report: VerifyReport, compared: AuditEvent | null): void {
  const { lineage, objects, bytes, pages, newest, quick, restored, ok, findings } = report;
  if (lineage === null && findings.length === 0) {
    console.log(`There is no replica at ${url}.`);
    return;
  }
  for (const { problem, message } of findings) console.error(`${problem}: ${message}`);
  const read = quick ? "headers and indexes" : `${pages} pages`;
  console.log(`Checked   ${objects} objects of ${byteSize(bytes)}, ${read}`);
  if (newest !== null) console.log(`Newest    transaction ${newest.txid}`);
  if (restored !== null) console.log(`Restore   ${restored ? "integrity_check says ok" : "fails"}`);
  if (compared !== null) console.log(`Database  ${describe(compared)}`);
  console.log(ok ? "The replica is sound." : "The replica is damaged.");
}

function describe(compared: AuditEvent): string {
  const { outcome, position } = compared;
  if (outcome === "equal") return `is the replica at transaction ${position.txid}`;
  if (outcome === "unreadable") return `cannot be compared: ${compared.error.message}`;
  return `differs from the replica in ${compared.count} pages, the first is ${compared.pages[0]}`;
}
