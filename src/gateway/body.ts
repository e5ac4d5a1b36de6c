import type { Clock } from "../platform.ts";
import { Refused } from "./refused.ts";

/** The part of a clock that is needed. */
export type Timer = Pick<Clock, "after">;

/** Bytes a second that a client must reach on the whole, however evenly it trickles. */
const SLOWEST_BYTES_PER_SECOND = 4096;
/** How long a body is listened to that is not wanted, milliseconds. */
const DISCARD_MS = 10_000;

/**
 * A body of `size` bytes as it comes; the caller has checked the size against its limits. Throws Refused for one that is
 * longer, shorter ("network": it was cut), or slow: `idleMs` without a byte, or `deadline` passed.
 */
export async function* bodyChunks(
  { body }: Request,
  size: number,
  idleMs: number,
  timer: Timer,
  deadline?: Deadline,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = body?.getReader();
  let read = 0;
  let broken = true;
  try {
    while (reader !== undefined) {
      const idle = new Deadline(idleMs, timer);
      const ends = deadline === undefined ? [idle.passed] : [idle.passed, deadline.passed];
      const step = await Promise.race([cutShort(reader.read()), ...ends]).finally(() => idle.end());
      if (step === late) throw new Refused(408, "network", "the body came too slowly");
      if (step.done || step.value === undefined) break;
      read += step.value.length;
      broken = false;
      if (read > size)
        throw new Refused(413, "invalid-request", `the body is longer than the ${size} bytes stated`);
      yield step.value;
      broken = true;
    }
    broken = false;
    if (read < size) throw new Refused(400, "network", `the body ended after ${read} of ${size} bytes`);
  } finally {
    if (broken) reader?.cancel().catch(() => undefined);
    // Who left it for a reason of their own may have the rest discarded.
    else reader?.releaseLock();
  }
}

/** The same, whole. One that trickles ends too. */
export async function readBody(
  request: Request,
  size: number,
  idleMs: number,
  timer: Timer,
): Promise<Uint8Array> {
  const deadline = new Deadline(idleMs + (size / SLOWEST_BYTES_PER_SECOND) * 1000, timer);
  const bytes = new Uint8Array(size);
  let filled = 0;
  try {
    for await (const chunk of bodyChunks(request, size, idleMs, timer, deadline)) {
      bytes.set(chunk, filled);
      filled += chunk.length;
    }
    return bytes;
  } finally {
    deadline.end();
  }
}

function cutShort<T>(reading: Promise<T>): Promise<T> {
  return reading.catch(() => {
    throw new Refused(400, "network", "the body was cut short");
  });
}

/** Listens to a body of a request that is refused, so that its sender gets to read why; not for ever. */
export async function discard({ body }: Request, limit: number, timer: Timer): Promise<void> {
  if (body === null || body.locked) return;
  const reader = body.getReader();
  const deadline = new Deadline(DISCARD_MS, timer);
  try {
    for (let read = 0; read <= limit; ) {
      const step = await Promise.race([reader.read(), deadline.passed]);
      if (step === late || step.done) break;
      read += step.value?.length ?? 0;
    }
    reader.cancel().catch(() => undefined);
  } catch {
    // Its sender has gone.
  } finally {
    deadline.end();
  }
}

/**
 * An object's body as an answer. A reader that takes nothing for `idleMs`, or leaves, gives the store's body back.
 * `onError` is told what the store threw; the reader sees a cut.
 */
export function answerBody(
  body: AsyncIterable<Uint8Array>,
  idleMs: number,
  timer: Timer,
  onError: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const source = body[Symbol.asyncIterator]();
  let idle: Deadline | null = null;
  let left = false;
  const leave = async () => {
    left = true;
    idle?.end();
    await source.return?.();
  };
  const wait = () => {
    idle = new Deadline(idleMs, timer);
    idle.passed.then(leave).catch(onError);
  };
  wait();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        idle?.end();
        if (left) throw new Error("the reader was too slow");
        try {
          for (;;) {
            const step = await source.next();
            if (step.done === true) return controller.close();
            if (step.value.length > 0) {
              controller.enqueue(step.value);
              return wait();
            }
          }
        } catch (error) {
          onError(error);
          throw error;
        }
      },
      cancel: leave,
    },
    { highWaterMark: 0 },
  );
}

const late = Symbol("late");

/** Time that passes, unless it is ended. */
class Deadline {
  readonly passed: Promise<typeof late>;
  readonly #timeout: { cancel(): void };

  constructor(ms: number, timer: Timer) {
    let pass: (value: typeof late) => void = () => undefined;
    this.passed = new Promise((resolve) => {
      pass = resolve;
    });
    this.#timeout = timer.after(ms, false, () => pass(late));
  }

  end(): void {
    this.#timeout.cancel();
  }
}
