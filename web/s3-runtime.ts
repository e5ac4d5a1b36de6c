import type { S3Runtime } from "../src/store/s3-sdk.ts";

const IDLE_TIMEOUT_MS = 60_000;

export const s3Runtime: S3Runtime = {
  loadSdk: () => import("./bundled/aws-sdk.ts"),
  /** Browsers stream no request over HTTP/1.1. A Blob they may keep on disk. */
  async streamBody(chunks) {
    const parts: BlobPart[] = [];
    for await (const chunk of chunks) parts.push(new Blob([chunk as Uint8Array<ArrayBuffer>]));
    return new Blob(parts);
  },
  findsSettings: false,
  // A browser's cache may answer with an object that has been replaced since: S3 says nothing of how long one is fresh,
  // so browsers guess.
  handlerOptions: { cache: "no-store" },
  idleTimeoutMs: IDLE_TIMEOUT_MS,
};
