import { ConfigError } from "../../src/errors.ts";
import { lookAgain } from "../../src/look-again.ts";
import { findClaim, listReplica } from "../../src/replica.ts";
import { type Command, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { newestState } from "./ls.ts";
import { openReplica } from "./replica-word.ts";

export const status: Command = {
  usage: "status <replica> [--max-age <duration>]",
  help: `Says how far a replica is, for monitors: the last transaction and when it was committed. With --max-age (90s, 5m,
2h, 7d) the exit code is 3 when that is longer ago, and always when there is nothing to restore. A database that nobody
writes to grows old without any fault; have it commit now and then where you monitor this.

  sluice status s3://my-bucket/backups/app/ --max-age 10m || alert
  sluice status --json file:///mnt/backup/app

JSON: { txid, time, ageMs, stale } or { txid: null, time: null, ageMs: null, stale: true }.`,
  options: { "max-age": { type: "string" } },
  words: [1, 1],
  async run([replica], { json, "max-age": maxAge }) {
    const limit =
      maxAge === undefined ? Number.POSITIVE_INFINITY : parseDuration("--max-age", String(maxAge));
    const store = await openReplica(replica!);
    await findClaim(store);
    const newest = await lookAgain(async () => newestState(store, await listReplica(store)));
    if (newest === null) {
      const nothing = { txid: null, time: null, ageMs: null, stale: true };
      console.log(json ? JSON.stringify(nothing) : `There is nothing to restore at ${store.url}.`);
      return EXIT_NOTHING;
    }
    const { txid } = newest.to;
    const time = newest.header.commits.last;
    const ageMs = Math.max(0, Date.now() - time);
    const stale = ageMs > limit;
    const iso = new Date(time).toISOString();
    if (json) console.log(JSON.stringify({ txid, time: iso, ageMs, stale }));
    else
      console.log(`Transaction ${txid}, committed ${iso}, ${duration(ageMs)} ago${stale ? ": too old" : ""}`);
    return stale ? EXIT_NOTHING : EXIT_OK;
  },
};

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds. Throws ConfigError. */
export function parseDuration(option: string, text: string): number {
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (parts === null) throw new ConfigError(option, "must be a duration such as 90s, 5m, 2h or 7d");
  return Number(parts[1]) * unitMs[parts[2]!]!;
}

/** In the largest unit of which there are two. */
function duration(ms: number): string {
  const [unit, size] = Object.entries(unitMs).findLast(([, size]) => ms >= 2 * size) ?? ["ms", 1];
  return `${Math.round(ms / size)} ${unit}`;
}
