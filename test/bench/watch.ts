import { readFileSync } from "node:fs";

/** Clock ticks a second in /proc: fixed on Linux (USER_HZ). */
const TICKS = 100;
const EVERY_MS = 5;

/** Watches another process until it ends: processor time and peak resident memory, as the kernel last said. */
export class Watch {
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  #cpuMs = 0;
  #peakRss = 0;

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
    this.#look();
  }

  #look(): void {
    try {
      const fields = readFileSync(`/proc/${this.#pid}/stat`, "utf8").split(") ")[1]!.split(" ");
      this.#cpuMs = ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS;
      const status = readFileSync(`/proc/${this.#pid}/status`, "utf8");
      const peak = /VmHWM:\s+(\d+)/.exec(status)?.[1];
      if (peak !== undefined) this.#peakRss = Number(peak) * 1024;
    } catch {
      // It has ended; what was seen last stands.
    }
  }

  end(): { readonly cpuMs: number; readonly peakRss: number } {
    clearInterval(this.#timer);
    return { cpuMs: this.#cpuMs, peakRss: this.#peakRss };
  }
}
