import { expect, test } from "vitest";
import { StoreError } from "../../src/errors.ts";
import { type ConditionalCreate, probeConditionalCreate } from "../../src/store/s3-probe.ts";

/** A store that looks whether the key is there, and then writes: at once, or while others look too. */
class OneKey {
  there = false;
  ageMs = 0;
  mayDelete = true;
  readonly #atomic: boolean;

  constructor(atomic: boolean) {
    this.#atomic = atomic;
  }

  probe(): Promise<ConditionalCreate> {
    return probeConditionalCreate({
      create: async () => {
        const refused = this.there;
        if (!this.#atomic) await Promise.resolve();
        this.there = true;
        return refused ? "refused" : "created";
      },
      remove: async () => {
        if (!this.mayDelete) throw new StoreError("access-denied", "may not delete");
        this.there = false;
      },
      age: async () => (this.there ? this.ageMs : null),
    });
  }
}

test.each([
  [true, "atomic"],
  [false, "unreliable"],
] as const)("a store whose condition holds against a race: %s", async (atomic, expected) => {
  const store = new OneKey(atomic);
  expect(await store.probe()).toBe(expected);
  expect(store.there).toBe(false);
});

test.each([
  [true, "atomic"],
  [false, "unreliable"],
] as const)(
  "what a probe left behind that ended before it deleted it proves nothing by itself (%s)",
  async (atomic, expected) => {
    const store = new OneKey(atomic);
    [store.there, store.ageMs] = [true, 3_600_000];
    expect(await store.probe()).toBe(expected);
    expect(store.there).toBe(false);
  },
);

test("what another probe has just created is left to it", async () => {
  const store = new OneKey(true);
  [store.there, store.ageMs] = [true, 1000];
  expect(await store.probe()).toBe("atomic");
  expect(store.there).toBe(true);
});

test("what may not be deleted stays, and at least the condition is heeded", async () => {
  const store = new OneKey(true);
  [store.there, store.ageMs, store.mayDelete] = [true, 3_600_000, false];
  expect(await store.probe()).toBe("atomic");
});
