import { type Command, EXIT_FAILED, EXIT_OK } from "./command.ts";

export const demo: Command = {
  usage: "demo [--replica <url>] [--keep]",
  help: `Shows in half a minute what replication does: an application writes, its network is cut for some seconds, it is
killed with SIGKILL in the middle of a transaction, starts again, is restored elsewhere, and compared page by page.

  sluice demo
  sluice demo --replica "s3://my-bucket/sluice-demo/?region=eu-central-1"
  sluice demo --replica "s3://my-bucket/sluice-demo/?endpoint=https://minio.example:9000" --keep

The replica is a folder, or what --replica names: a prefix that holds no replica yet. All is deleted at the end, unless
--keep leaves it to be looked at. Some 80 MB go up; the input is the files of the installed npm packages.

JSON: { ok, findings: [{ what, seen, good }] }. Exit code 1 when something is not as promised.`,
  options: { replica: { type: "string" }, keep: { type: "boolean" } },
  words: [0, 0],
  async run(_, { json, replica, keep }) {
    // Loaded here, so that the other commands stay quick.
    const { runDemo } = await import("../demo/main.ts");
    const given = replica === undefined ? {} : { replica: String(replica) };
    return (await runDemo({ ...given, keep: keep === true, json: json === true })) ? EXIT_OK : EXIT_FAILED;
  },
};
