/** A follower in a process of its own, which is killed on the way. */
import { writeSync } from "node:fs";
import { ReplicaFollower } from "../../node/index.ts";
import { armSelfKill, type SelfKill } from "../faults/kill-self.ts";

export interface FollowLife {
  readonly replica: string;
  readonly dbPath: string;
  readonly kill: SelfKill | null;
}

const { replica, dbPath, kill } = JSON.parse(process.argv[2]!) as FollowLife;
const follower = await ReplicaFollower.create({ replica, dbPath });
if (kill !== null) armSelfKill(kill);
await follower.start();
await follower.stop();
writeSync(1, "caught up\n");
