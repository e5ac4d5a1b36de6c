import { ConfigError } from "../../src/errors.ts";
import { listReplica } from "../../src/replica.ts";
import { openStore } from "../open-store.ts";
import { newestState } from "./ls.ts";
import { type Command, EXIT_STALE } from "./run.ts";

export const status: Command = {
  usage: "status <replica> [--max-age <duration>]",
  help: `Says how far a replica is, for monitors: the last transaction and when it was committed. With --max-age (90s, 5m,
2h, 7d) the exit code is 3 when that is longer ago. A database that nobody writes to grows old without any fault; have
it commit now and then where you monitor this.

  sluice status s3://my-bucket/backups/app/ --max-age 10m

JSON: { txid, time, ageMs, stale } or { txid: null, stale: true }.`,
  options: { "max-age": { type: "string" } },
  words: [1, 1],
  async run([replica], { json, "max-age": maxAge }) {
    const limit =
      maxAge === undefined ? Number.POSITIVE_INFINITY : parseDuration("--max-age", String(maxAge));
    const store = openStore({ replica: replica! });
    const newest = await newestState(store, await listReplica(store));
    if (newest === null) {
      console.log(
        json ? JSON.stringify({ txid: null, stale: true }) : `There is nothing to restore at ${store.url}.`,
      );
      return EXIT_STALE;
    }
    const { txid } = newest.to;
    const time = newest.header.commits.last;
    const ageMs = Math.max(0, Date.now() - time);
    const stale = ageMs > limit;
    const iso = new Date(time).toISOString();
    if (json) console.log(JSON.stringify({ txid, time: iso, ageMs, stale }));
    else
      console.log(
        `transaction ${txid}, ${iso}, ${Math.round(ageMs / 1000)} s ago${stale ? ": too old" : ""}`,
      );
    return stale ? EXIT_STALE : 0;
  },
};

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds. Throws ConfigError. */
export function parseDuration(option: string, text: string): number {
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (parts === null) throw new ConfigError(option, "must be a duration such as 90s, 5m, 2h or 7d");
  return Number(parts[1]) * unitMs[parts[2]!]!;
}
