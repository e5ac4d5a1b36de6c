import { byteSize, ProgressLine } from "../progress.ts";
import { pruneReplica } from "../replica-tools.ts";
import { type Command, EXIT_FAILED, EXIT_NOTHING, EXIT_OK, type Options } from "./command.ts";
import { interruptible } from "./interrupted.ts";
import { openReplica } from "./replica-word.ts";
import { parseDuration } from "./status.ts";

export const prune: Command = {
  usage: "prune <replica> [--dry-run] [--retention <time>] [--fine-retention <time>]",
  help: `Deletes what retention does not keep. Of the last day (--fine-retention) every segment stays, of the last 7 days
(--retention) one state for each 16 segments; snapshots are thinned to the newest and one a day. The newest snapshot and
what leads on from it always stay. The program that replicates does this by itself, by its retentionSecs and
fineRetentionSecs; give the same here. Safe beside it, and beside other runs.

  sluice prune s3://my-bucket/backups/app/ --dry-run
  sluice prune s3://my-bucket/backups/app/ --retention 30d --fine-retention 2d

JSON: { planned: [{ key, size, coveredBy }], deleted: [key], problems: [text], refused }. Exit code 1 with a problem
(what should stand for an object is damaged, so that one stays) or where the credentials do not allow to delete, 3
without a replica.`,
  options: {
    "dry-run": { type: "boolean" },
    retention: { type: "string" },
    "fine-retention": { type: "string" },
  },
  words: [1, 1],
  async run([replica], options) {
    const store = await openReplica(replica!);
    const dryRun = options["dry-run"] === true;
    const line = new ProgressLine("deleting");
    const report = await interruptible((signal) =>
      pruneReplica(store, {
        dryRun,
        ...seconds(options, "retention", "retentionSecs"),
        ...seconds(options, "fine-retention", "fineRetentionSecs"),
        signal,
        onProgress: ({ done, total }) => line.update(done / total, `${done}/${total} objects`),
      }),
    ).finally(() => line.clear());
    if (report === null) {
      console.error(`sluice: there is no replica at ${store.url}.`);
      return EXIT_NOTHING;
    }
    const { planned, deleted, refused } = report;
    const problems = report.problems.map(({ message }) => message);
    if (options.json) console.log(JSON.stringify({ planned, deleted, problems, refused }));
    else if (dryRun) {
      for (const { key, coveredBy } of planned) console.log(`${key}  (${coveredBy} stands for it)`);
      const size = planned.reduce((sum, object) => sum + object.size, 0);
      console.log(`${planned.length} objects, ${byteSize(size)}, would be deleted.`);
    } else console.log(`${deleted.length} objects deleted.`);
    for (const problem of problems) console.error(`sluice: left as it is: ${problem}`);
    if (refused) console.error("sluice: these credentials may not delete. Everything stays.");
    return problems.length === 0 && !refused ? EXIT_OK : EXIT_FAILED;
  },
};

function seconds(options: Options, option: string, field: string): Record<string, number> {
  const value = options[option];
  return value === undefined ? {} : { [field]: parseDuration(`--${option}`, String(value)) / 1000 };
}
