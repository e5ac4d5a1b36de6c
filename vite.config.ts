import { existsSync } from "node:fs";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";

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

export default defineConfig({
  build: {
    target: "es2022",
    minify: false,
    sourcemap: true,
    lib: {
      entry: {
        node: "node/index.ts",
        web: "web/index.ts",
        cli: "node/cli.ts",
        demo: "node/demo/main.ts",
        "demo-writer": "node/demo/writer.ts",
      },
      formats: ["es"],
    },
    rolldownOptions: {
      // Dependencies stay imports: the app's bundler and npm deduplicate them.
      external: [/^node:/, /^[^./]/],
      output: { chunkFileNames: "chunks/[name]-[hash].js" },
    },
  },
  optimizeDeps: { exclude: ["@sqlite.org/sqlite-wasm"] },
  test: {
    reporters: ["default", "./scripts/closing-line-reporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/**/*.browser.test.ts", "test/s3/**"],
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
          include: ["test/s3/**/*.test.ts"],
          globalSetup: "test/s3/global-setup.ts",
          environment: "node",
          pool: "forks",
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "chromium",
          include: ["test/**/*.browser.test.ts"],
          testTimeout: 60_000,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({
              launchOptions: {
                ...(existsSync(chromium) ? { executablePath: chromium } : {}),
                args: chromiumFlags,
              },
            }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
    ],
  },
});
