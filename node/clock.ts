import os from "node:os";
import type { Clock } from "../src/platform.ts";
import { steadyTime } from "../src/steady-time.ts";
import { stopwatches } from "../src/stopwatch.ts";

export const systemClock: Clock = {
  now: steadyTime(() => Date.now()),
  stopwatch: stopwatches(
    () => Date.now(),
    // Goes on while the machine sleeps, unlike `performance.now`.
    () => os.uptime() * 1000,
  ),
  after(ms, holding, callback) {
    const timer = setTimeout(callback, ms);
    if (!holding) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};
