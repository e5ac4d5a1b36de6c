/** What happened, as a hash that a replay must reproduce; the last lines of it as text, where somebody wants to read them. */
export class Trace {
  #a = 0x811c9dc5;
  #b = 0x9747b28c;
  #lines: string[] | null;
  count = 0;

  constructor(verbose: boolean) {
    this.#lines = verbose ? [] : null;
  }

  note(line: string): void {
    this.count += 1;
    let a = this.#a;
    let b = this.#b;
    for (let i = 0; i < line.length; i++) {
      const unit = line.charCodeAt(i);
      a = Math.imul(a ^ unit, 0x01000193);
      b = Math.imul(b + unit, 0x85ebca6b) ^ (b >>> 13);
    }
    this.#a = Math.imul(a ^ 10, 0x01000193);
    this.#b = b;
    this.#lines?.push(line);
  }

  get hash(): string {
    return (this.#a >>> 0).toString(16).padStart(8, "0") + (this.#b >>> 0).toString(16).padStart(8, "0");
  }

  get lines(): readonly string[] {
    return this.#lines ?? [];
  }
}
