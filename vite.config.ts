import { defineConfig } from "vite";
import { isExternal, minifyBundled, sdkForWorkers } from "./scripts/bundled.ts";

export default defineConfig({
  plugins: [sdkForWorkers(), minifyBundled()],
  build: {
    target: "es2022",
    minify: false,
    sourcemap: true,
    lib: {
      entry: {
        node: "node/index.ts",
        web: "web/index.ts",
        page: "web/page.ts",
        gateway: "src/gateway/index.ts",
        cli: "node/cli.ts",
        demo: "node/demo/main.ts",
        "demo-writer": "node/demo/writer.ts",
      },
      formats: ["es"],
    },
    license: { fileName: "THIRD-PARTY-LICENSES.md" },
    rolldownOptions: {
      external: isExternal,
      output: {
        chunkFileNames: "chunks/[name]-[hash].js",
        // With all that they import: few requests, and they compress better than many small pieces.
        codeSplitting: {
          groups: [
            { name: "core", test: /\/src\/replicator\.ts$/, priority: 2 },
            { name: "upkeep", test: /\/src\/upkeep\.ts$/, priority: 1 },
          ],
        },
      },
    },
  },
  optimizeDeps: {
    exclude: ["@sqlite.org/sqlite-wasm"],
    rolldownOptions: { plugins: [sdkForWorkers()] },
  },
});
