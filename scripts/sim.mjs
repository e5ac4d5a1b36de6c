// `npm run sim -- [--seeds n] [--from seed]`: simulates machines, disks, stores and clocks from seeds, and prints each seed
// that fails. `--from s --seeds 1` replays it.
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "10000" },
    from: { type: "string", default: String(Date.now() % 1_000_000_000) },
  },
});
console.log(`Seeds from ${values.from}: give --from ${values.from} to see the same again.`);
const vitest = spawn(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "--project", "node", "test/sim/seeds"],
  { stdio: "inherit", env: { ...process.env, SLUICE_SEEDS: values.seeds, SLUICE_SEED: values.from } },
);
vitest.on("close", (code) => {
  process.exitCode = code ?? 1;
});
