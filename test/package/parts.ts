// What a browser's replicator is made of, for an app that tests them one by one: see web-app.test.ts.
export { S3Store } from "../../src/store/s3-store.ts";
export { loadCodecs } from "../../web/compression.ts";
export { s3Runtime } from "../../web/s3-runtime.ts";
