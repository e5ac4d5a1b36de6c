import { describe } from "vitest";
import { s3Runtime } from "../../node/s3-runtime.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { tendedHere } from "../compaction/tended.ts";
import { housekeepingSuite } from "../suites/housekeeping.ts";
import { freshBucket, server } from "./server.ts";

describe.skipIf(server === null)("a real S3 server", () => {
  housekeepingSuite(
    "S3, each with a client of its own",
    async () => {
      const bucket = await freshBucket();
      return tendedHere(() => new S3Store({ ...bucket, prefix: "app" }, s3Runtime));
    },
    { rounds: 6, segments: 32, inTurns: true },
  );
});
