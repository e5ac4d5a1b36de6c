// `npm run fuzz [-- --seconds n] [-- --seed n] [-- --only name]`: each fuzz target for n seconds, 60 by default, one after
// the other. Prints how many inputs each was given.
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    only: { type: "string", default: "" },
  },
});
console.log(`Seed ${values.seed}: give --seed ${values.seed} to see the same again.`);
const vitest = spawn(
  process.execPath,
  [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--project",
    "node",
    "--maxWorkers",
    "1",
    `test/fuzz/${values.only}`,
  ],
  {
    stdio: "inherit",
    env: { ...process.env, SLUICE_FUZZ_SECONDS: values.seconds, SLUICE_SEED: values.seed },
  },
);
vitest.on("close", (code) => {
  process.exitCode = code ?? 1;
});
