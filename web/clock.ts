import type { Clock } from "../src/platform.ts";
import { steadyTime } from "../src/steady-time.ts";
import { stopwatches } from "../src/stopwatch.ts";

export const systemClock: Clock = {
  now: steadyTime(() => Date.now()),
  stopwatch: stopwatches(
    () => Date.now(),
    () => performance.now(),
  ),
  after(ms, _holding, callback) {
    const timer = setTimeout(callback, ms);
    return { cancel: () => clearTimeout(timer) };
  },
  turn,
};

/** A message reaches its own port after what is queued already; timers would be held back to 4 ms and more. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
