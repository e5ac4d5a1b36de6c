import { performance } from "node:perf_hooks";

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
