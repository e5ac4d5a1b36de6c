import { readFileSync } from "node:fs";
import { minifySync, type Plugin } from "vite";

/** The modules that take their dependencies into chunks of ours; each is loaded by a dynamic import. */
const BUNDLED = /\/web\/bundled\//;
const DEPENDENCY = /\/node_modules\//;

/**
 * Whether an import stays one in what we publish. Dependencies do, so that the app's bundler and npm deduplicate them,
 * except those of web/bundled, and what they import in turn.
 */
export function isExternal(id: string, importer: string | undefined): boolean {
  if (/^[./\0]/.test(id)) return false;
  return importer === undefined || !(BUNDLED.test(importer) || DEPENDENCY.test(importer));
}

/**
 * Gives the AWS SDK's browser build the XML parser of its Node build, which is plain JavaScript: the one for browsers needs
 * DOMParser, which workers lack, and then lists, deletes, multipart uploads and all errors fail.
 */
export function sdkForWorkers(): Plugin {
  return {
    name: "sluice:sdk-for-workers",
    enforce: "pre",
    load(id) {
      const [path = ""] = id.split("?");
      if (!/\/xml-builder\/.*\/xml-parser\.browser\.js$/.test(path)) return null;
      return readFileSync(path.replace(".browser.js", ".js"), "utf8");
    },
    // Should a release of the SDK keep its parser elsewhere, the build has to fail, not the app.
    generateBundle(_, bundle) {
      for (const output of Object.values(bundle)) {
        if (output.type === "chunk" && /\bDOMParser\b/.test(output.code)) {
          this.error(
            `${output.fileName} needs DOMParser, which workers lack: the AWS SDK's XML parser was not replaced`,
          );
        }
      }
    },
  };
}

/** Minifies what is not ours. Our own code stays readable; an app minifies it with its own. */
export function minifyBundled(): Plugin {
  const holdsDependencies = ({ moduleIds }: { readonly moduleIds: readonly string[] }) =>
    moduleIds.some((id) => BUNDLED.test(id) || DEPENDENCY.test(id));
  return {
    name: "sluice:minify-bundled",
    apply: "build",
    renderChunk(code, chunk) {
      if (!holdsDependencies(chunk)) return null;
      return { code: minifySync(chunk.fileName, code, { module: true }).code, map: null };
    },
    generateBundle(_, bundle) {
      for (const output of Object.values(bundle)) {
        if (output.type !== "chunk" || !holdsDependencies(output)) continue;
        output.map = null;
        delete bundle[`${output.fileName}.map`];
      }
    },
  };
}
