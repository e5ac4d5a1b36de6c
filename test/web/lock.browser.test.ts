import { afterEach, expect, test, vi } from "vitest";
import { DatabaseInUseError, LockUnavailableError } from "../../src/errors.ts";
import { acquirePoolLock } from "../../web/lock.ts";

const workers: Worker[] = [];
afterEach(() => {
  for (const worker of workers.splice(0)) worker.terminate();
  vi.restoreAllMocks();
});

function freshDirectory(): string {
  return `/pools/${crypto.randomUUID()}`;
}

/** A worker that asks for the lock, and its answer. */
function acquireInWorker(directory: string, waitMs: number): { worker: Worker; answer: Promise<unknown> } {
  const worker = new Worker(new URL("./lock.worker.ts", import.meta.url), { type: "module" });
  workers.push(worker);
  const answer = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
  });
  worker.postMessage({ directory, waitMs });
  return { worker, answer };
}

/** Resolves when somebody waits for the lock of the directory. The browser tells nobody, so it is asked. */
async function waiterOf(directory: string): Promise<void> {
  for (;;) {
    const { pending = [] } = await navigator.locks.query();
    if (pending.some(({ name }) => name === `sluice:${directory}`)) return;
  }
}

/** Answers the reason; waits for a rejection. */
function refusal(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.unreachable("it was granted"),
    (error: unknown) => error,
  );
}

test("a second worker waits, and has it when the first ends", async () => {
  const directory = freshDirectory();
  const first = acquireInWorker(directory, 0);
  expect(await first.answer).toBe("held");
  const second = acquireInWorker(directory, 60_000);
  await waiterOf(directory);
  first.worker.terminate();
  expect(await second.answer).toBe("held");
});

test("a page waits for a worker, and has it when that ends", async () => {
  const directory = freshDirectory();
  const { worker, answer } = acquireInWorker(directory, 0);
  await answer;
  const lock = acquirePoolLock(directory, { waitMs: 60_000 });
  await waiterOf(directory);
  worker.terminate();
  await (await lock).release();
});

test("waiting ends with DatabaseInUseError, which says who holds it", async () => {
  const directory = freshDirectory();
  await acquireInWorker(directory, 0).answer;
  for (const waitMs of [0, 20]) {
    const error = (await refusal(acquirePoolLock(directory, { waitMs }))) as DatabaseInUseError;
    expect(error).toBeInstanceOf(DatabaseInUseError);
    expect(error.path).toBe(directory);
    expect(error.holder).toContain(new URL("./lock.worker.ts", import.meta.url).pathname);
  }
  expect(await acquireInWorker(directory, 0).answer).toBe("SLUICE_IN_USE");
});

test("the holder is not mixed up with that of a pool whose name begins alike", async () => {
  const directory = freshDirectory();
  const beside = await acquirePoolLock(`${directory}:b`);
  // Held, by something that is not this module.
  let end = () => {};
  await new Promise<void>((held) => {
    navigator.locks.request(`sluice:${directory}`, () => {
      held();
      return new Promise<void>((resolve) => {
        end = resolve;
      });
    });
  });
  const error = (await refusal(acquirePoolLock(directory, { waitMs: 0 }))) as DatabaseInUseError;
  expect(error.holder).not.toContain(location.pathname);
  end();
  await beside.release();
});

test("a signal ends the waiting with its reason, and nothing stays", async () => {
  const directory = freshDirectory();
  const { worker, answer } = acquireInWorker(directory, 0);
  await answer;
  const controller = new AbortController();
  const lock = refusal(acquirePoolLock(directory, { waitMs: 60_000, signal: controller.signal }));
  await waiterOf(directory);
  const reason = new Error("the user left");
  controller.abort(reason);
  expect(await lock).toBe(reason);
  worker.terminate();
  await (await acquirePoolLock(directory)).release();
  expect(await refusal(acquirePoolLock(directory, { signal: controller.signal }))).toBe(reason);
});

test("a signal that comes just before the lock leaves none behind", async () => {
  const directory = freshDirectory();
  const controller = new AbortController();
  const lock = refusal(acquirePoolLock(directory, { signal: controller.signal }));
  controller.abort();
  expect(await lock).toBe(controller.signal.reason);
  expect(await acquireInWorker(directory, 0).answer).toBe("held");
});

test("this realm answers a second request at once, however the directory is written", async () => {
  const directory = freshDirectory();
  const lock = await acquirePoolLock(directory);
  const requests = vi.spyOn(navigator.locks, "request");
  for (const same of [directory, directory.slice(1), `${directory}/`, directory.replace("/", "//")]) {
    expect(await refusal(acquirePoolLock(same, { waitMs: 60_000 }))).toBeInstanceOf(DatabaseInUseError);
  }
  expect(requests).not.toHaveBeenCalled();
  const other = await acquirePoolLock(freshDirectory());
  await other.release();
  await lock.release();
});

test("also while the first is still waiting", async () => {
  const directory = freshDirectory();
  const { worker, answer } = acquireInWorker(directory, 0);
  await answer;
  const lock = acquirePoolLock(directory, { waitMs: 60_000 });
  expect(await refusal(acquirePoolLock(directory, { waitMs: 60_000 }))).toBeInstanceOf(DatabaseInUseError);
  worker.terminate();
  await (await lock).release();
});

test("after release it is free, for this realm and for others; a second release does nothing", async () => {
  const directory = freshDirectory();
  const lock = await acquirePoolLock(directory);
  await lock.release();
  expect((await navigator.locks.query()).held?.filter(({ name }) => name?.includes(directory))).toEqual([]);
  const again = await acquirePoolLock(directory, { waitMs: 0 });
  await lock.release();
  expect(await acquireInWorker(directory, 0).answer).toBe("SLUICE_IN_USE");
  await again.release();
  expect(await acquireInWorker(directory, 0).answer).toBe("held");
});

test("without Web Locks there is no pool", async () => {
  vi.spyOn(navigator, "locks", "get").mockReturnValue(undefined as unknown as LockManager);
  expect(await refusal(acquirePoolLock(freshDirectory()))).toBeInstanceOf(LockUnavailableError);
});
