import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

/** Peak resident memory of this process so far, bytes. */
export function peakRss(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Bytes that JavaScript holds, buffers included. */
export function memoryInUse(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Times how long the event loop does not come round, by a timer of its own that wants to run every millisecond. */
export class StallProbe {
  #last = performance.now();
  #stalls: number[] = [];
  #rss = 0;
  #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.#tick(), 1);
  }

  #tick(): void {
    const now = performance.now();
    this.#stalls.push(now - this.#last - 1);
    this.#last = now;
    if (this.#stalls.length % 50 === 0) this.#rss = Math.max(this.#rss, process.memoryUsage.rss());
  }

  end(): { longestMs: number; nextLongestMs: number; over16Ms: number; peakRss: number } {
    this.#tick();
    clearInterval(this.#timer);
    const sorted = this.#stalls.sort((a, b) => b - a);
    return {
      longestMs: sorted[0] ?? 0,
      nextLongestMs: sorted[1] ?? 0,
      over16Ms: sorted.filter((ms) => ms > 16).length,
      peakRss: this.#rss,
    };
  }
}

/**
 * What the machine itself does to an event loop: stalls of one that computes for 3 ms of every 4 and asks nothing of the
 * system. Others on the processors, and a hypervisor, hold it up as they do anybody.
 */
export async function machineStalls(ms: number): Promise<{ longestMs: number; over16Ms: number }> {
  const probe = new StallProbe();
  const busy = setInterval(() => {
    const until = performance.now() + 3;
    while (performance.now() < until);
  }, 4);
  await sleep(ms);
  clearInterval(busy);
  const { longestMs, over16Ms } = probe.end();
  return { longestMs, over16Ms };
}
