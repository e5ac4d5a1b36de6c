import { StoreError } from "../errors.ts";
import { type IdleWatch, unlessAborted } from "./idle-watch.ts";
import { chunksOf, type PutBody } from "./object-store.ts";
import { type Attempt, toStoreError } from "./s3-errors.ts";

/** Most bytes in a chunk of an answer. */
const CHUNK_BYTES = 1024 * 1024;

interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}
/** What the SDK gives as a body: in Node a Readable, in browsers a ReadableStream, not always iterable. */
interface ResponseStream {
  [Symbol.asyncIterator]?(): AsyncIterator<Uint8Array>;
  getReader?(): Reader;
  destroy?(): void;
}

/**
 * The body of an answer of `length` bytes. Leaving it early, also before its beginning, closes the connection; the
 * watch ends with it. Throws StoreError "network" for a body that is cut short, or the reason of the watch.
 */
export function responseBody(
  stream: unknown,
  length: number,
  watch: IdleWatch,
  attempt: Attempt,
): AsyncIterable<Uint8Array> {
  const body = stream as ResponseStream;
  let source: AsyncIterator<Uint8Array> | null = null;
  let received = 0;
  let ended = false;
  /** Of a large chunk: browsers gather what comes faster than it is read. */
  let rest: Uint8Array = new Uint8Array();
  const leave = () => {
    if (!ended) watch.fail(new StoreError("network", "the body was left"));
    ended = true;
    watch.end();
    body.destroy?.();
  };
  const part = (chunk: Uint8Array): IteratorResult<Uint8Array, undefined> => {
    rest = chunk.subarray(CHUNK_BYTES);
    return { done: false, value: chunk.subarray(0, CHUNK_BYTES) };
  };
  const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
    if (!watch.signal.aborted && rest.length > 0) return part(rest);
    if (ended) return { done: true, value: undefined };
    try {
      source ??= iteratorOf(body);
      watch.expectProgress();
      const step = await unlessAborted(source.next(), watch.signal);
      watch.rest();
      if (step.done !== true) {
        received += step.value.length;
        return part(step.value);
      }
      if (received !== length)
        throw new StoreError("network", `the answer ended after ${received} of ${length} bytes`);
      ended = true;
      watch.end();
      return { done: true, value: undefined };
    } catch (thrown) {
      const error = watch.signal.aborted ? watch.signal.reason : toStoreError(thrown, attempt);
      leave();
      throw error;
    }
  };
  return {
    [Symbol.asyncIterator]: () => ({
      next,
      return: async () => {
        leave();
        return { done: true, value: undefined };
      },
    }),
  };
}

function iteratorOf(body: ResponseStream): AsyncIterator<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]?.();
  if (iterator !== undefined) return iterator;
  const reader = body.getReader?.();
  if (reader === undefined)
    throw new StoreError("invalid-request", "the AWS SDK gave a body of an unknown kind");
  return {
    next: async () => {
      const { done, value } = await reader.read();
      return done || value === undefined ? { done: true, value: undefined } : { done: false, value };
    },
  };
}

/**
 * What is to be sent, chunk by chunk, one behind the source: a source that gives more than it stated is found out
 * before the last byte that it stated has gone. A failure of the source ends the request by way of the watch.
 */
export async function* requestBody(
  body: PutBody,
  watch: IdleWatch,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = chunksOf(body, watch.signal);
  let held: Uint8Array | null = null;
  try {
    for (;;) {
      watch.rest();
      const step = await source.next();
      if (held !== null) {
        watch.expectProgress(held.length);
        yield held;
      }
      if (step.done === true) break;
      held = step.value;
    }
    watch.expectProgress();
  } catch (error) {
    watch.fail(error);
    throw error;
  } finally {
    await source.return();
  }
}

declare class ReadableStream {
  constructor(
    source: { pull(controller: StreamController): Promise<void> },
    strategy: { highWaterMark: number },
  );
}
interface StreamController {
  enqueue(chunk: Uint8Array): void;
  close(): void;
}

/** As the streams that lib-storage takes in Node and in browsers. Reads nothing ahead. */
export function readableStream(chunks: AsyncIterator<Uint8Array>): object {
  return new ReadableStream(
    {
      async pull(controller) {
        for (;;) {
          const step = await chunks.next();
          if (step.done === true) return controller.close();
          if (step.value.length > 0) return controller.enqueue(step.value);
        }
      },
    },
    { highWaterMark: 0 },
  );
}
