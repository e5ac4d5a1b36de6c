import fc from "fast-check";
import { expect, test } from "vitest";
import { SluiceError } from "../../src/errors.ts";

/** `npm run fuzz -- --seconds n` goes on for so long with each target; otherwise the number of inputs decides. */
const SECONDS = Number(process.env.SLUICE_FUZZ_SECONDS ?? 0);
const SEED = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
/** An input that is worked on for longer hangs, milliseconds: above what a store waits for an answer that does not come. */
const HANGS_MS = 90_000;

/**
 * A test that gives a reader of outside bytes `inputs` inputs, or as many as it takes in the time that is set. `act` throws
 * for what must not be. The seed stands in the test's name; what fails is printed at its smallest.
 */
export function fuzz<T>(
  name: string,
  inputs: number,
  input: fc.Arbitrary<T>,
  act: (input: T) => Promise<void> | void,
): void {
  const timeout = 120_000 + SECONDS * 2000;
  test(`${name} (SLUICE_SEED=${SEED})`, { timeout }, async () => {
    const property = fc.asyncProperty(input, async (value) => act(value));
    const result = await fc.check(property, {
      seed: SEED,
      timeout: HANGS_MS,
      ...(SECONDS === 0
        ? { numRuns: inputs }
        : { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: SECONDS * 1000 }),
    });
    if (SECONDS > 0) console.log(`${name}: ${result.numRuns} inputs, seed ${SEED}`);
    if (result.failed)
      throw new Error(fc.defaultReportMessage(result) ?? "failed", { cause: result.errorInstance });
  });
}

/** What an attempt comes to: its value, or null for an error of Sluice's own. Any other error fails the test. */
export async function typed<T>(attempt: () => Promise<T> | T): Promise<T | null> {
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    expect(error.message).not.toBe("");
    return null;
  }
}
