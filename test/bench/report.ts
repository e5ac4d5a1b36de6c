export interface Row {
  readonly what: string;
  readonly value: string;
  /** What it has to reach; absent: information. */
  readonly goal?: string;
  readonly reached?: boolean;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The value that `part` of the values, from 0 to 1, are at most. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

/** Median of the ratios of neighbours in time: what disturbs the machine disturbs both of a pair. */
export function pairedRatio(base: readonly number[], ours: readonly number[]): number {
  return median(ours.map((value, i) => base[i]! / value));
}

/** The power of `x` by which `y` grows: the slope of a straight line through their logarithms, by least squares. */
export function growth(points: readonly (readonly [x: number, y: number])[]): number {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  const mean = (axis: 0 | 1) => logs.reduce((sum, log) => sum + log[axis], 0) / logs.length;
  const [x, y] = [mean(0), mean(1)];
  const sum = (of: (dx: number, dy: number) => number) =>
    logs.reduce((all, log) => all + of(log[0] - x, log[1] - y), 0);
  return sum((dx, dy) => dx * dy) / sum((dx) => dx * dx);
}

/** The least and the greatest of those ratios. */
export function spread(base: readonly number[], ours: readonly number[]): string {
  const ratios = ours.map((value, i) => base[i]! / value);
  return `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`;
}

export function milliseconds(value: number): string {
  return value < 10_000 ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export function mebibytes(value: number): string {
  return `${(value / 2 ** 20).toFixed(1)} MiB`;
}

export function atLeast(what: string, ratio: number, goal: number, absolute: string): Row {
  return {
    what,
    value: `${ratio.toFixed(2)}× (${absolute})`,
    goal: `≥ ${goal.toFixed(2)}×`,
    reached: ratio >= goal,
  };
}

export function atMost(
  what: string,
  value: number,
  goal: number,
  format: (value: number) => string,
  absolute?: string,
): Row {
  return {
    what,
    value: absolute === undefined ? format(value) : `${format(value)} (${absolute})`,
    goal: `≤ ${format(goal)}`,
    reached: value <= goal,
  };
}

export function printTable(rows: readonly Row[]): void {
  const widths = [0, 0, 0];
  const cells = rows.map(({ what, value, goal, reached }) => {
    const mark = reached === undefined ? "" : reached ? " ok" : " NOT REACHED";
    const row = [what, value, `${goal ?? ""}${mark}`];
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i]!, cell.length);
    return row;
  });
  for (const row of cells)
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    );
}
