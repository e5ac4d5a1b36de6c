import { Readable } from "node:stream";
import type { S3Runtime } from "../src/store/s3-sdk.ts";

const IDLE_TIMEOUT_MS = 60_000;

export const s3Runtime: S3Runtime = {
  async loadSdk() {
    const [client, storage] = await Promise.all([
      import("@aws-sdk/client-s3"),
      import("@aws-sdk/lib-storage"),
    ]);
    return { ...client, Upload: storage.Upload };
  },
  streamBody(chunks) {
    const body = Readable.from(chunks, { objectMode: false });
    // A source that fails has ended the request already; unheard, the event would end the process.
    body.on("error", () => undefined);
    return body;
  },
  findsSettings: true,
  handlerOptions: {},
  idleTimeoutMs: IDLE_TIMEOUT_MS,
};
