import { defineConfig } from "vite";
import { sdkForWorkers } from "../../../scripts/bundled.ts";

export default defineConfig({
  plugins: [sdkForWorkers()],
  worker: { format: "es", plugins: () => [sdkForWorkers()] },
  optimizeDeps: { exclude: ["@sqlite.org/sqlite-wasm"] },
  build: { target: "es2022" },
});
