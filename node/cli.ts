#!/usr/bin/env node
import { EXIT_FAILED } from "./cli/command.ts";
import { runCli } from "./cli/run.ts";

// The SDK's advice on Node versions is for who builds with it, and would stand above every answer.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
// console.log ignores what it cannot write. A reader that has seen enough (`| head -1`) is no failure, a full disk is one.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") return;
  console.error(`sluice: the output could not be written: ${error.message}`);
  process.once("exit", () => {
    process.exitCode ||= EXIT_FAILED;
  });
});
process.exitCode = await runCli(process.argv.slice(2));
