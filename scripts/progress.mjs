// A progress line for people: a bar that is redrawn on a terminal, a plain line now and then elsewhere. Plain JavaScript,
// so that it runs before anything is installed.

const WIDTH = 24;
/** Milliseconds between plain lines, and between redraws. */
const PLAIN_MS = 2000;
const REDRAW_MS = 80;

/**
 * @param {string} label
 * @param {NodeJS.WriteStream} [out]
 */
export function progress(label, out = process.stdout) {
  const terminal = out.isTTY === true && !process.env.CI;
  let last = 0;
  /** @param {string} line */
  const show = (line) =>
    out.write(terminal ? `\r\x1b[2K${line.slice(0, (out.columns ?? 80) - 1)}` : `${line}\n`);
  return {
    /**
     * @param {number} fraction from 0 to 1
     * @param {string} [detail]
     */
    update(fraction, detail = "") {
      const now = Date.now();
      if (now - last < (terminal ? REDRAW_MS : PLAIN_MS)) return;
      last = now;
      const part = Math.min(1, Math.max(0, fraction));
      const full = Math.round(part * WIDTH);
      const bar = terminal ? `${"█".repeat(full)}${"░".repeat(WIDTH - full)} ` : "";
      show(`${label.padEnd(10)} ${bar}${String(Math.floor(part * 100)).padStart(3)} %  ${detail}`);
    },
    /** @param {string} text what came of it */
    done(text) {
      show(`${label.padEnd(10)} ${text}`);
      if (terminal) out.write("\n");
    },
  };
}
