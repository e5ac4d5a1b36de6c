export function contentOf(all: (sql: string) => unknown[][]): {
  readonly integrity: unknown;
  readonly pages: unknown;
  readonly tables: number;
  readonly hash: string;
};
