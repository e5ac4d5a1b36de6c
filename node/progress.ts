const WIDTH = 24;
/** Milliseconds between redraws on a terminal, and between plain lines elsewhere. */
const REDRAW_MS = 80;
const PLAIN_MS = 1000;

/** One step's progress: a bar that is redrawn on a terminal, a plain line now and then elsewhere. */
export class ProgressLine {
  readonly #label: string;
  readonly #out: NodeJS.WriteStream;
  readonly #terminal: boolean;
  #last = 0;

  constructor(label: string, out: NodeJS.WriteStream = process.stdout) {
    this.#label = label.padEnd(9);
    this.#out = out;
    this.#terminal = out.isTTY === true && process.env.CI === undefined;
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

  done(text: string): void {
    this.#show(`${this.#label} ${text}`);
    if (this.#terminal) this.#out.write("\n");
  }

  #show(line: string): void {
    if (this.#terminal) this.#out.write(`\r\x1b[2K${line.slice(0, this.#out.columns - 1)}`);
    else this.#out.write(`${line}\n`);
  }
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
