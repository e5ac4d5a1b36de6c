/** An instance that works on a replica in a directory, in a process of its own, and may kill itself at it. */
import * as nodeFs from "node:fs/promises";
import { systemClock } from "../../node/clock.ts";
import { DirectoryStore } from "../../node/directory-store.ts";
import { armSelfKill, killSelf } from "../faults/kill-self.ts";
import { carryOut, WITHIN_DELETE, type Work } from "./tended.ts";

const { url, work } = JSON.parse(process.argv[2]!) as { readonly url: string; readonly work: Work };
const { death, skewMs } = work;
let left = death?.at === WITHIN_DELETE ? 1 + death.pass : Number.POSITIVE_INFINITY;
if (death !== null) armSelfKill({ at: "fault", point: death.at, count: death.pass });
const fs = {
  ...nodeFs,
  unlink: (path: string) => {
    if (path.endsWith(".wal.zst") && left-- === 0) killSelf();
    return nodeFs.unlink(path);
  },
};
const clock = { ...systemClock, now: () => systemClock.now() + skewMs };
await carryOut(work, new DirectoryStore(url, fs as typeof nodeFs), clock);
