import type { ServerResponse } from "node:http";
import { extname, join } from "node:path";
import { build, type Plugin, type Rolldown } from "vite";
import { sdkForWorkers } from "../../scripts/bundled.ts";

const WORKER = /^(\/.+\.worker)\.ts\?worker_file\b/;
/** Where their files are served. */
const FOLDER = "/bundled-workers";
const TYPES: Record<string, string> = { ".js": "text/javascript", ".wasm": "application/wasm" };

type Files = ReadonlyMap<string, string | Uint8Array>;

/**
 * Workers of the tests as an app's bundler makes them, each bundled when it is first started. One after another is started
 * and ended by the tests, and module by module each would load more than a hundred files.
 */
export function bundledWorkers(): Plugin {
  const bundles = new Map<string, Promise<Files>>();
  return {
    name: "test:bundled-workers",
    apply: "serve",
    configureServer({ config, middlewares }) {
      const filesOf = (worker: string) => {
        const files = bundles.get(worker) ?? bundle(config.root, worker);
        bundles.set(worker, files);
        return files;
      };
      middlewares.use(({ url = "" }, response, next) => {
        const worker = WORKER.exec(url)?.[1];
        if (worker !== undefined) send(response, ".js", `import "${FOLDER}${worker}/entry.js";`);
        else if (url.startsWith(`${FOLDER}/`)) sendFile(url.slice(FOLDER.length)).catch(next);
        else next();

        async function sendFile(path: string): Promise<void> {
          const end = path.indexOf(".worker/") + ".worker".length;
          const content = (await filesOf(path.slice(0, end))).get(path.slice(end + 1));
          if (content === undefined) throw new Error(`No worker has the file ${path}.`);
          send(response, extname(path), content);
        }
      });
    },
  };
}

function send(response: ServerResponse, extension: string, content: string | Uint8Array): void {
  const type = TYPES[extension] ?? "application/octet-stream";
  response.writeHead(200, { "content-type": type, "cache-control": "max-age=3600" }).end(content);
}

async function bundle(root: string, worker: string): Promise<Files> {
  const result = await build({
    root,
    configFile: false,
    logLevel: "error",
    base: `${FOLDER}${worker}/`,
    plugins: [sdkForWorkers()],
    build: {
      write: false,
      target: "es2022",
      minify: false,
      modulePreload: false,
      assetsInlineLimit: 0,
      rolldownOptions: { input: join(root, `${worker}.ts`), output: { entryFileNames: "entry.js" } },
    },
  });
  const { output } = result as Rolldown.RolldownOutput;
  return new Map(output.map((file) => [file.fileName, file.type === "chunk" ? file.code : file.source]));
}
