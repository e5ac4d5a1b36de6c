import type { Timer } from "../../src/gateway/body.ts";

/** Time that passes when a test says so. */
export class ManualTimer implements Timer {
  readonly #waiting = new Set<{ readonly ms: number; callback: () => void }>();
  #onChange: () => void = () => undefined;

  after(ms: number, _holding: boolean, callback: () => void): { cancel(): void } {
    const entry = { ms, callback };
    this.#waiting.add(entry);
    this.#onChange();
    return { cancel: () => this.#waiting.delete(entry) };
  }

  /** Waits until something waits for that long, and lets it pass. */
  async pass(ms: number): Promise<void> {
    for (;;) {
      const due = [...this.#waiting].find((entry) => entry.ms === ms);
      if (due !== undefined) {
        this.#waiting.delete(due);
        return due.callback();
      }
      await new Promise<void>((resolve) => {
        this.#onChange = resolve;
      });
    }
  }

  /** How many wait for that long. */
  waiting(ms: number): number {
    return [...this.#waiting].filter((entry) => entry.ms === ms).length;
  }
}
