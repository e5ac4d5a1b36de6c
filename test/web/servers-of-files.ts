/** Servers that tests in a browser have running outside. Files run side by side, so each stops its own. */
export class ServersOfFiles {
  readonly #stops = new Map<string | undefined, (() => Promise<void>)[]>();

  /** `file`: the command's `testPath`. */
  add(file: string | undefined, stop: () => Promise<void>): void {
    const stops = this.#stops.get(file) ?? [];
    this.#stops.set(file, [...stops, stop]);
  }

  async stop(file: string | undefined): Promise<void> {
    const stops = this.#stops.get(file) ?? [];
    this.#stops.delete(file);
    for (const stop of stops) await stop();
  }
}
