import { ProgressLine } from "../progress.ts";
import { compactReplica } from "../replica-tools.ts";
import { type Command, EXIT_FAILED, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { interruptible } from "./interrupted.ts";
import { openReplica } from "./replica-word.ts";

export const compact: Command = {
  usage: "compact <replica>",
  help: `Merges each 16 neighbouring segments of a replica into one of the next level, up to level 3, so that a restore opens
tens of objects and not thousands. Nothing is deleted. The program that replicates does this by itself; here it is for
those that have it turned off (compaction: false). It may run at any time, from any machine, and more than once at a time.

  sluice compact s3://my-bucket/backups/app/

JSON: { made: [key], problems: [text] }. Exit code 1 with a problem (segments that do not belong together or are damaged;
they stay as they are), 3 without a replica.`,
  options: {},
  words: [1, 1],
  async run([replica], { json }) {
    const store = await openReplica(replica!);
    const line = new ProgressLine("merging");
    const report = await interruptible((signal) =>
      compactReplica(store, {
        signal,
        onProgress: ({ made, total }) => line.update(made / total, `${made}/${total} objects`),
      }),
    ).finally(() => line.clear());
    if (report === null) {
      console.error(`sluice: there is no replica at ${store.url}.`);
      return EXIT_NOTHING;
    }
    const problems = report.problems.map(({ message }) => message);
    if (json) console.log(JSON.stringify({ made: report.made, problems }));
    else console.log(`${report.made.length} objects made.`);
    for (const problem of problems) console.error(`sluice: left as it is: ${problem}`);
    return problems.length === 0 ? EXIT_OK : EXIT_FAILED;
  },
};
