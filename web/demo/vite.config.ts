import { defineConfig } from "vite";
import { sdkForWorkers } from "../../scripts/bundled.ts";
import { demoGateway } from "../../scripts/demo-gateway.ts";

export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  plugins: [demoGateway()],
  build: {
    outDir: "../../dist-demo",
    emptyOutDir: true,
    target: "es2022",
  },
  worker: { format: "es", plugins: () => [sdkForWorkers()] },
  optimizeDeps: {
    // What a worker imports is found only when it runs: Vite would bundle it then, and reload the page.
    include: ["@noble/hashes/sha2.js", "@noble/hashes/utils.js", "idb-keyval", "xxhash-wasm"],
    exclude: ["@sqlite.org/sqlite-wasm"],
    rolldownOptions: { plugins: [sdkForWorkers()] },
  },
});
