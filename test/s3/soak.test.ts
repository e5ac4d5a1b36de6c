import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Fault, SoakSite } from "../soak/site.ts";
import { server } from "./server.ts";

/** Minutes of `npm run soak`; none in `npm test`. */
const MINUTES = Number(process.env.SLUICE_SOAK_MINUTES ?? 0);
const SEED = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
const COMPARE_MS = 30_000;
const PROGRESS_MS = 60_000;

const network = (seconds: number) =>
  ({
    cut: { kind: "network", seconds, weather: { kind: "cut" } },
    delay: { kind: "network", seconds, weather: { kind: "delay", ms: 700 } },
    throttle: { kind: "network", seconds, weather: { kind: "throttle", bytesPerSecond: 40_000 } },
    reset: { kind: "network", seconds, weather: { kind: "reset", afterBytes: 3000 } },
    corrupt: { kind: "network", seconds, weather: { kind: "corrupt", oneIn: 6 } },
  }) satisfies Record<string, Fault>;

describe.skipIf(server === null)("a writer whose network, disk and process fail", () => {
  const site = new SoakSite(SEED);
  beforeAll(() => site.prepare());
  afterAll(() => site.clear());

  test.skipIf(MINUTES > 0)(`loses nothing (SLUICE_SEED=${SEED})`, { timeout: 400_000 }, async () => {
    const { corrupt, reset } = network(3);
    await site.compare();
    await site.suffer(corrupt);
    await site.suffer({ kind: "EIO", chance: 0.02, seconds: 2 });
    await site.suffer({ kind: "stop", seconds: 3 });
    await site.suffer(reset);
    await site.suffer({ kind: "kill" });
    await site.compare();
    await site.end();
    expect(site.figures.restores).toBe(3);
  });

  test.runIf(MINUTES > 0)(
    `${MINUTES} minutes of everything (SLUICE_SEED=${SEED})`,
    { timeout: MINUTES * 60_000 + 900_000 },
    async () => {
      const end = Date.now() + MINUTES * 60_000;
      let [compared, told] = [Date.now(), Date.now()];
      let minuteLongStops = 0;
      while (Date.now() < end) {
        // Seldom: it takes a minute in which nothing else happens.
        const stopped = site.figures.faults.get("stop") ?? 0;
        const long = stopped >= 10 * (minuteLongStops + 1);
        if (long) minuteLongStops += 1;
        const seconds = site.random.integer(1, 10);
        const faults: Fault[] = [
          { kind: "kill" },
          { kind: "kill" },
          { kind: "kill" },
          { kind: "stop", seconds: long ? 60 : site.random.integer(1, 5) },
          { kind: "EIO", chance: site.random.pick([0.002, 0.05, 0.5]), seconds },
          { kind: "server stopped" },
          ...Object.values(network(seconds)),
        ];
        if (site.canMount) faults.push({ kind: "full disk" }, { kind: "read-only" });
        await site.suffer(site.random.pick(faults));
        if (Date.now() - compared >= COMPARE_MS) {
          await site.compare();
          compared = Date.now();
        }
        if (Date.now() - told < PROGRESS_MS) continue;
        told = Date.now();
        console.log(`${site.figures}`);
      }
      await site.compare();
      await site.end();
      console.log(`${MINUTES} minutes, seed ${SEED}: ${site.figures}`);
    },
  );
});
