import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RestoreResults } from "./cases/peers-restore.ts";
import type { WriteResults } from "./cases/peers-write.ts";
import { growth, median } from "./report.ts";

const WIDTH = 640;
const HEIGHT = 360;
const LEFT = 70;
const RIGHT = 180;
const TOP = 40;
const BOTTOM = 50;
const colours = ["#0b6bcb", "#7fb2e5", "#c2410c", "#f0b48a", "#777777"];

interface Line {
  readonly name: string;
  /** [megabytes, value] */
  readonly points: readonly (readonly [number, number])[];
}

/** Draws what the peer cases found by size of the database, as SVG. */
export function drawCharts(folder: string, results: Record<string, { data: unknown }>): void {
  mkdirSync(folder, { recursive: true });
  const writes = results["peers-write"]?.data as Record<string, WriteResults> | undefined;
  const restores = results["peers-restore"]?.data as Record<string, { results: RestoreResults }> | undefined;
  if (writes !== undefined) {
    const bySize = Object.entries(writes).filter(([name]) => name.startsWith("orders"));
    const line = (engine: keyof WriteResults, name: string): Line => ({
      name,
      points: bySize.map(([size, runs]) => [
        megabytesOf(size),
        1000 / median(runs[engine].map(({ ms, count }) => ms / count)),
      ]),
    });
    const lines = [
      line("sluice", "Sluice"),
      line("wasm", "its VFS alone"),
      line("litestream", "native, Litestream"),
      line("native", "native alone"),
    ];
    write(folder, "orders.svg", chart("Orders a second", "by size of the database, MB", lines));
  }
  if (restores === undefined) return;
  // The first run of each size: a long log comes behind the others.
  const bySize = new Map(
    Object.entries(restores)
      .reverse()
      .map(([name, { results }]) => [megabytesOf(name), results]),
  );
  const line = (restorer: keyof RestoreResults, name: string): Line => {
    const points = [...bySize]
      .reverse()
      .map(([size, results]) => [size, median(results[restorer].map(({ ms }) => ms / 1000))] as const);
    return { name: points.length > 1 ? `${name}: x^${growth(points).toFixed(2)}` : name, points };
  };
  const lines = [
    line("sluice", "Sluice, process"),
    line("inside", "Sluice, inside"),
    line("litestream", "Litestream"),
    line("zstd", "zstd -d, sync"),
    line("cp", "cp, sync"),
  ];
  write(folder, "restore.svg", chart("Restore, seconds", "by size of the database, MB", lines));
}

function megabytesOf(name: string): number {
  return Number(/(\d+) MB/.exec(name)![1]);
}

function write(folder: string, name: string, svg: string): void {
  writeFileSync(join(folder, name), svg);
}

/** Lines over logarithmic axes. */
function chart(title: string, subtitle: string, lines: readonly Line[]): string {
  const xs = scaleOf(
    lines.flatMap(({ points }) => points.map(([x]) => x)),
    LEFT,
    WIDTH - RIGHT,
  );
  const ys = scaleOf(
    lines.flatMap(({ points }) => points.map(([, y]) => y)),
    HEIGHT - BOTTOM,
    TOP,
  );
  const text = (x: number, y: number, value: string, more = "") =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${more}>${value}</text>`;
  const parts = [
    text(LEFT, 18, `${title}, ${subtitle}`, ' font-weight="bold"'),
    ...ys.ticks.map(
      (y) =>
        `<path d="M${LEFT} ${ys.at(y).toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>${text(LEFT - 8, ys.at(y) + 4, String(y), ' text-anchor="end"')}`,
    ),
    ...xs.ticks.map((x) => text(xs.at(x), HEIGHT - BOTTOM + 20, String(x), ' text-anchor="middle"')),
  ];
  const labels = spreadOut(lines.map(({ points }) => ys.at(points.at(-1)?.[1] ?? 1)));
  for (const [i, { name, points }] of lines.entries()) {
    const colour = colours[i]!;
    const path = points.map(([x, y]) => `${xs.at(x).toFixed(1)} ${ys.at(y).toFixed(1)}`);
    parts.push(`<path d="M${path.join("L")}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const point of path) {
      const [x, y] = point.split(" ");
      parts.push(`<circle cx="${x}" cy="${y}" r="3" fill="${colour}"/>`);
    }
    parts.push(text(WIDTH - RIGHT + 10, labels[i]! + 4, name, ` fill="${colour}"`));
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<title>${title}, ${subtitle}</title>
<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>
${parts.join("\n")}
</svg>
`;
}

/** A logarithmic axis from `from` to `to` pixels, with ticks at 1, 2 and 5 times powers of ten. */
function scaleOf(values: readonly number[], from: number, to: number) {
  const low = Math.log10(Math.min(...values) * 0.8);
  const high = Math.log10(Math.max(...values) * 1.25);
  const at = (value: number) => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
  const ticks: number[] = [];
  for (let power = Math.floor(low); power <= high; power++)
    for (const digit of [1, 2, 5]) {
      const tick = Number((digit * 10 ** power).toPrecision(1));
      if (Math.log10(tick) >= low && Math.log10(tick) <= high) ticks.push(tick);
    }
  return { at, ticks };
}

/** Labels at heights that leave each other room. */
function spreadOut(heights: readonly number[]): number[] {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a]! - heights[b]!);
  const result = [...heights];
  for (let i = 1; i < order.length; i++)
    result[order[i]!] = Math.max(result[order[i]!]!, result[order[i - 1]!]! + 15);
  return result;
}
