import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { playwright } from "@vitest/browser-playwright";
import { mergeConfig } from "vite";
import { defineConfig } from "vitest/config";
import { gatewayCommands } from "./test/gateway/browser-commands.ts";
import { LongestFirst } from "./test/longest-first.ts";
import { bundledWorkers } from "./test/web/bundled-workers.ts";
import { s3Commands } from "./test/web/s3-commands.ts";
import build from "./vite.config.ts";

const chromium = "/usr/bin/chromium";
const chromiumFlags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** An app that has installed the package: in a browser, and over S3. */
const WEB_APP_TEST = "test/package/web-app.test.ts";

const S3_BROWSER_TESTS = "test/web/s3*.browser.test.ts";

const inChromium = () => ({
  enabled: true,
  headless: true,
  // One page for each of the two projects, beside the workers of the others, which are the longer part of a run.
  fileParallelism: false,
  screenshotFailures: false,
  provider: playwright({
    launchOptions: {
      ...(existsSync(chromium) ? { executablePath: chromium } : {}),
      args: chromiumFlags,
    },
  }),
  instances: [{ browser: "chromium" as const }],
});

const tests = defineConfig({
  test: {
    // More than there are processors: the tests wait, for stores, browsers, disks and children, about as long as they compute.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    reporters: ["default", "./scripts/closing-line-reporter.ts"],
    // What is waited for comes when the machine has time for it.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/**/*.browser.test.ts", "test/s3/**", "test/stories/**", WEB_APP_TEST],
          environment: "node",
          pool: "forks",
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "s3",
          include: ["test/s3/**/*.test.ts", WEB_APP_TEST],
          exclude: ["test/**/*.browser.test.ts"],
          globalSetup: "test/s3/global-setup.ts",
          environment: "node",
          pool: "forks",
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        // The demo in a real browser, seen from outside.
        test: {
          name: "stories",
          include: ["test/stories/**/*.test.ts"],
          globalSetup: "test/stories/global-setup.ts",
          environment: "node",
          pool: "forks",
          testTimeout: 90_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        plugins: [bundledWorkers()],
        test: {
          name: "chromium",
          include: ["test/**/*.browser.test.ts"],
          exclude: [S3_BROWSER_TESTS],
          testTimeout: 60_000,
          browser: { ...inChromium(), commands: gatewayCommands },
        },
      },
      {
        extends: true,
        // What a worker imports is found only when it runs: Vite would bundle it then, and reload the page.
        optimizeDeps: { include: ["@aws-sdk/client-s3", "@aws-sdk/lib-storage"] },
        test: {
          name: "s3-chromium",
          include: [S3_BROWSER_TESTS],
          globalSetup: "test/s3/global-setup.ts",
          testTimeout: 120_000,
          hookTimeout: 120_000,
          browser: { ...inChromium(), commands: s3Commands },
        },
      },
    ],
  },
});

/** Tests see the sources as the build does. */
export default mergeConfig(build, tests);
