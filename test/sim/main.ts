/**
 * `child.mjs FROM COUNT STEP`: simulates seeds, and prints what became of each as a line of JSON. One that fails is simulated
 * once more, to see that the same happens, and to tell it.
 */
import { setMaxListeners } from "node:events";
import { loadCodecs } from "../../node/compression.ts";
import { Instance } from "./instance.ts";
import { MOST_MACHINES } from "./scenario.ts";
import { type Outcome, prepareHooks, simulate } from "./simulation.ts";

/** Lines of what happened last before a failure. */
const TOLD_LINES = 80;

const [from = 1, count = 1, step = 1] = process.argv.slice(2).map(Number);
const instances: Instance[] = [];
// Of each machine, and of who restores.
while (instances.length < MOST_MACHINES + 1) instances.push(await Instance.create());
const equipment = { instances, codecs: await loadCodecs() };
// A simulated process waits for many things at once.
setMaxListeners(0);
prepareHooks();
for (let i = 0; i < count; i++) {
  const seed = from + i * step;
  const outcome = await simulate(seed, equipment);
  const { hash, operations, failure } = outcome;
  const told = failure === null ? {} : await tell(outcome);
  console.log(JSON.stringify({ seed, hash, operations, ...told }));
}

async function tell({ seed, hash, failure }: Outcome): Promise<object> {
  const again = await simulate(seed, equipment, true);
  const replayed = again.hash === hash ? "" : "IT DOES NOT REPLAY: something is not from the seed.\n";
  const what = failure instanceof Error ? failure.stack : String(failure);
  return { failure: `${replayed}${again.lines.slice(-TOLD_LINES).join("\n")}\n${what}` };
}
