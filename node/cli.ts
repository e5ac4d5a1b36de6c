#!/usr/bin/env node
import { runCli } from "./cli/run.ts";

// The SDK's advice on Node versions is for who builds with it, and would stand above every answer.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
process.exitCode = await runCli(process.argv.slice(2));
