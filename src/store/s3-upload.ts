import { IdleWatch } from "./idle-watch.ts";
import { chunksOf } from "./object-store.ts";
import { readableStream } from "./s3-body.ts";
import type { S3Connection } from "./s3-connection.ts";
import { hiddenHeader } from "./s3-errors.ts";
import type { S3ObjectInput, S3PartOutput, S3Sdk } from "./s3-sdk.ts";

/** Bytes a part. S3 takes 10,000 parts, so objects up to 78 GiB; a smaller object goes in one request. */
export const PART_BYTES = 8 * 1024 * 1024;
/** Parts on their way at a time. With the one being filled, and its copy, about 32 MiB are in memory. */
const PARTS_AT_A_TIME = 2;
/** How long, without progress, the store may take to throw away the parts of an upload that failed. */
const CLEANUP_TIMEOUT_MS = 10_000;

/**
 * Uploads a stream of unknown length by lib-storage. Whatever ends it early (the source, a part, the signal) ends all of
 * it at once, and waits until the store was asked to throw the parts away. Where that fails too, because the network is
 * gone, they stay until the bucket's lifecycle rule for incomplete uploads takes them.
 */
export async function uploadStream(
  connection: S3Connection,
  key: string,
  target: S3ObjectInput,
  body: AsyncIterable<Uint8Array>,
  idleTimeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const sdk = await connection.sdk();
  const { config } = await connection.client();
  const stopped = new AbortController();
  const stop = () => stopped.abort(signal?.reason);
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted === true) stop();

  const send = async (command: object): Promise<unknown> => {
    const cleaning = command instanceof sdk.AbortMultipartUploadCommand;
    const watch = new IdleWatch(
      cleaning ? CLEANUP_TIMEOUT_MS : idleTimeoutMs,
      cleaning ? undefined : stopped.signal,
    );
    const operation = operationOf(sdk, command);
    try {
      const answer = await connection.send<S3PartOutput>(
        () => command,
        { operation, key },
        watch,
        cleaning ? 0 : PART_BYTES,
      );
      // Without it the parts cannot be put together.
      if (command instanceof sdk.UploadPartCommand && answer.ETag === undefined)
        throw hiddenHeader("ETag", key);
      return answer;
    } catch (error) {
      if (cleaning) return undefined;
      stopped.abort(error);
      throw error;
    } finally {
      watch.end();
    }
  };

  const chunks = chunksOf(body, stopped.signal);
  const Body = readableStream(chunks);
  const options = { client: { config, send }, params: { ...target, Body } };
  try {
    await new sdk.Upload({ ...options, partSize: PART_BYTES, queueSize: PARTS_AT_A_TIME }).done();
  } catch (error) {
    // The first cause, not what came of it.
    throw stopped.signal.aborted ? stopped.signal.reason : error;
  } finally {
    signal?.removeEventListener("abort", stop);
    await chunks.return();
  }
}

/** By class: what a class is called does not outlive a minifier. */
function operationOf(sdk: S3Sdk, command: object): string {
  if (command instanceof sdk.CreateMultipartUploadCommand) return "CreateMultipartUpload";
  if (command instanceof sdk.UploadPartCommand) return "UploadPart";
  if (command instanceof sdk.CompleteMultipartUploadCommand) return "CompleteMultipartUpload";
  if (command instanceof sdk.AbortMultipartUploadCommand) return "AbortMultipartUpload";
  return "PutObject";
}
