const WIDTH = 24;
/** Milliseconds between redraws on a terminal, and between plain lines elsewhere. */
const REDRAW_MS = 80;
const PLAIN_MS = 1000;

/**
 * One step's progress on standard error, which leaves standard output to results: a bar that is redrawn on a terminal, a
 * plain line now and then elsewhere.
 */
export class ProgressLine {
  readonly #label: string;
  readonly #out = process.stderr;
  readonly #terminal = process.stderr.isTTY === true && process.env.CI === undefined;
  #last = 0;
  #open = false;

  constructor(label: string) {
    this.#label = label.padEnd(9);
  }

  /** `fraction` from 0 to 1. */
  update(fraction: number, detail: string): void {
    const now = Date.now();
    if (now - this.#last < (this.#terminal ? REDRAW_MS : PLAIN_MS)) return;
    this.#last = now;
    const part = Math.min(1, Math.max(0, fraction));
    const full = Math.round(part * WIDTH);
    const bar = this.#terminal ? `${"█".repeat(full)}${"░".repeat(WIDTH - full)} ` : "";
    this.#show(`${this.#label} ${bar}${String(Math.floor(part * 100)).padStart(3)} %  ${detail}`);
  }

  /** Leaves a last line behind. */
  done(text: string): void {
    this.#show(`${this.#label} ${text}`);
    if (this.#terminal) this.#out.write("\n");
    this.#open = false;
  }

  /** Takes the bar away, so that a message or a result begins on a line of its own. */
  clear(): void {
    if (this.#open) this.#out.write("\r\x1b[2K");
    this.#open = false;
  }

  #show(line: string): void {
    this.#open = this.#terminal;
    if (this.#terminal) this.#out.write(`\r\x1b[2K${line.slice(0, this.#out.columns - 1)}`);
    else this.#out.write(`${line}\n`);
  }
}

/** Such as `640 bytes`, `12.3 kB`, `4.5 MB`. */
export function byteSize(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
