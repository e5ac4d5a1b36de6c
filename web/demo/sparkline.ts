import { byId } from "./dom.ts";

const SAMPLES = 120;
const HEIGHT = 32;
/** Less than that looks like little, milliseconds. */
const FULL_SCALE_MS = 5000;

const lags: number[] = new Array(SAMPLES).fill(0);

/** Draws how long commits have waited; a sample comes with each status. */
export function drawLag(lagMs: number): void {
  lags.push(lagMs);
  lags.shift();
  const scale = Math.max(FULL_SCALE_MS, ...lags);
  const points = lags.map((lag, i) => {
    const y = HEIGHT - 1 - (lag / scale) * (HEIGHT - 2);
    return `${((i * SAMPLES) / (SAMPLES - 1)).toFixed(1)} ${y.toFixed(1)}`;
  });
  const line = `M${points.join("L")}`;
  byId("spark-line").setAttribute("d", line);
  byId("spark-area").setAttribute("d", `${line}V${HEIGHT}H0Z`);
}
