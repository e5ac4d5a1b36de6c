import { Refused } from "./refused.ts";

/** The query of a request. Each parameter may stand there once: else two readers could read two things. */
export class Parameters {
  readonly #query: URLSearchParams;

  constructor({ url }: Request) {
    this.#query = new URL(url).searchParams;
  }

  /** Throws Refused where it is missing or stands there twice. */
  text(name: string): string {
    const value = this.optional(name);
    if (value !== null) return value;
    throw new Refused(400, "invalid-request", `${name} is missing`);
  }

  optional(name: string): string | null {
    const [value = null, ...more] = this.#query.getAll(name);
    if (more.length === 0) return value;
    throw new Refused(400, "invalid-request", `${name} stands there twice`);
  }

  /** A whole number from 0. Throws Refused, with 413 for one above `max`. */
  count(name: string, max: number): number {
    const text = this.text(name);
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value))
      throw new Refused(400, "invalid-request", `${name} is no number of bytes or parts`);
    if (value > max) throw new Refused(413, "invalid-request", `${name} may be ${max} at most`);
    return value;
  }

  optionalCount(name: string, max: number): number | null {
    return this.optional(name) === null ? null : this.count(name, max);
  }

  flag(name: string): boolean {
    const value = this.optional(name);
    if (value === null || value === "1") return value === "1";
    throw new Refused(400, "invalid-request", `${name} can only be 1`);
  }
}
