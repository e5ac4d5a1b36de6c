import { defineConfig, mergeConfig } from "vite";
import config from "../../vite.config.ts";

/** The package's own build, with one more entry: parts.ts. */
export default mergeConfig(
  config,
  defineConfig({ build: { lib: { entry: { parts: "test/package/parts.ts" } } } }),
);
