import type { Clock } from "../src/platform.ts";
import { steadyTime } from "../src/steady-time.ts";

export const systemClock: Clock = {
  now: steadyTime(() => Date.now()),
  after(ms, holding, callback) {
    const timer = setTimeout(callback, ms);
    if (!holding) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};
