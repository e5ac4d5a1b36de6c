import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { BaseSequencer, type TestSpecification, type Vitest } from "vitest/node";

/** The files that take longest, in seconds of a run on two processors that each have several to run: 220 to 30. */
const LONG = [
  "test/web/faults.browser.test.ts",
  "test/sim/seeds.test.ts",
  "test/faults/crash.test.ts",
  "test/web/replicator.browser.test.ts",
  "test/web/s3.browser.test.ts",
  "test/gateway/gateway.browser.test.ts",
  "test/replicator/resync.test.ts",
  "test/web/s3-cors.browser.test.ts",
  "test/node/write-cache.test.ts",
  "test/cli/cli.test.ts",
  "test/web/s3-failures.browser.test.ts",
  "test/s3/story.test.ts",
  "test/s3/cli.test.ts",
  "test/s3/suite.test.ts",
  "test/web/attack.browser.test.ts",
  "test/web/unknown-history.browser.test.ts",
  "test/follow/crash.test.ts",
  "test/faults/fault-points.test.ts",
  "test/sim/teeth.test.ts",
  "test/stories/firefox.test.ts",
  "test/stories/restore.test.ts",
  "test/s3/behind-gateway.test.ts",
  "test/s3/soak.test.ts",
  "test/package/web-app.test.ts",
  "test/web/restore-past.browser.test.ts",
  "test/replicator/bad-input.test.ts",
  "test/stories/tabs.test.ts",
  "test/web/damaged-cache.browser.test.ts",
  "test/replicator/damaged-cache.test.ts",
  "test/cache/staged-cache.test.ts",
  "test/gateway/suite.test.ts",
  "test/cli/demo.test.ts",
  "test/stories/kill.test.ts",
  "test/node/directory-store.test.ts",
];

/**
 * Begins the files that take longest first, of whichever project they are, so that in the end no file runs for minutes with
 * nothing beside it. A fresh machine has no earlier run to know them from.
 */
export class LongestFirst extends BaseSequencer {
  readonly #rank: ReadonlyMap<string, number>;

  constructor(vitest: Vitest) {
    super(vitest);
    const gone = LONG.filter((file) => !existsSync(join(vitest.config.root, file)));
    if (gone.length > 0) throw new Error(`test/longest-first.ts names what is not there: ${gone}`);
    this.#rank = new Map(LONG.map((file, i) => [file, i]));
  }

  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { root } = this.ctx.config;
    const rank = ({ moduleId }: TestSpecification) => this.#rank.get(relative(root, moduleId)) ?? LONG.length;
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
