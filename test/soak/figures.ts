/** What went on. */
export class Figures {
  lives = 0;
  commits = 0;
  histories = 0;
  restores = 0;
  restoredBytes = 0;
  readonly faults = new Map<string, number>();
  readonly said = new Map<string, number>();

  note(kind: string, count = 1, to = this.faults): void {
    to.set(kind, (to.get(kind) ?? 0) + count);
  }

  toString(): string {
    const list = (counts: ReadonlyMap<string, number>) =>
      [...counts].map(([kind, count]) => `${kind} ${count}`).join(", ");
    return (
      `${this.histories} histories, ${this.lives} lives, ${this.commits} commits, ${this.restores} restores ` +
      `(${Math.round(this.restoredBytes / 1e6)} MB) byte for byte; faults: ${list(this.faults)}; heard: ${list(this.said)}`
    );
  }
}
