import { FollowError } from "../../src/errors.ts";
import type { AppliedEvent } from "../../src/pursuit.ts";
import { ReplicaFollower } from "../follower.ts";
import { byteSize, ProgressLine } from "../progress.ts";
import { type Command, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { interrupted } from "./interrupted.ts";
import { openReplica } from "./replica-word.ts";
import { parseDuration } from "./status.ts";

export const follow: Command = {
  usage: "follow <replica> <database> [--interval <duration>] [--once]",
  help: `Keeps a read-only copy of a replica current: makes it where there is none, then looks for what is new every
--interval (default 1s) and puts that in, one whole state after the other. Any SQLite may read the copy meanwhile, with a busy
timeout (PRAGMA busy_timeout=5000); nobody may write to it. Runs until it is interrupted, and goes on from there the next
time. What it knows of the copy is in <database>-follow.

  sluice follow s3://my-bucket/backups/app/ /var/lib/reports/app.db
  sluice follow file:///mnt/backup/app copy.db --interval 10s
  sluice follow --once s3://my-bucket/backups/app/ copy.db

  --interval   time between polls while nothing is new: 500ms, 10s, 5m. Each is one LIST request
  --once       catch up and end

JSON: a line for each state that was put in, { position: { txid, id }, from: { txid, id } | null, pages, objects, time }.
Exit code 1 when it cannot go on: a gap in the replica, a copy that somebody changed, another history; 3 without a replica.`,
  options: { interval: { type: "string" }, once: { type: "boolean" } },
  words: [2, 2],
  async run([replica, dbPath], { json, interval, once }) {
    const pollIntervalMs =
      interval === undefined ? {} : { pollIntervalMs: parseDuration("--interval", `${interval}`) };
    const store = await openReplica(replica!);
    const follower = await ReplicaFollower.create({ dbPath: dbPath!, replica: store, ...pollIntervalMs });
    const line = new ProgressLine("restoring");
    follower.addEventListener("applied", ({ detail }) => {
      line.clear();
      console.log(json === true ? JSON.stringify(document(detail)) : sentence(detail));
    });
    const failed = new Promise<never>((_, reject) => {
      follower.addEventListener("error", ({ detail }) => {
        if (follower.status().state === "failed") reject(detail);
        else console.error(`sluice: ${detail instanceof Error ? detail.message : detail} It is tried again.`);
      });
    });
    failed.catch(() => undefined); // Heard only while following.
    const end = new AbortController();
    const ended = interrupted().then((reason) => end.abort(reason));
    try {
      await follower.start({
        signal: end.signal,
        onProgress: ({ objects, totalObjects, bytes, totalBytes }) =>
          line.update(bytes / totalBytes, `${objects}/${totalObjects} objects, ${byteSize(bytes)}`),
      });
      if (once !== true) await Promise.race([ended, failed]);
      return EXIT_OK;
    } catch (error) {
      if (end.signal.aborted) {
        if (once === true) throw end.signal.reason; // Nobody may take the copy for current.
        return EXIT_OK;
      }
      if (!(error instanceof FollowError) || error.problem !== "no-replica") throw error;
      console.error(`sluice: ${error.message}`);
      return EXIT_NOTHING;
    } finally {
      line.clear();
      await follower.stop();
    }
  },
};

function document({ time, ...applied }: AppliedEvent) {
  return { ...applied, time: new Date(time).toISOString() };
}

function sentence({ position, from, pages, objects, time }: AppliedEvent): string {
  const what = `${pages} ${pages === 1 ? "page" : "pages"} from ${objects} ${objects === 1 ? "object" : "objects"}`;
  const made = from === null ? ", the copy is made" : "";
  return `transaction ${position.txid}, committed ${new Date(time).toISOString()}: ${what}${made}`;
}
