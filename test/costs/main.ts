import { parseArgs } from "node:util";
import { loadCodecs } from "../../node/compression.ts";
import { patterns } from "./patterns.ts";
import { simulateDay } from "./simulate.ts";
import { simulateUsers } from "./users.ts";

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    /** Dollars for a thousand PUTs or LISTs, a thousand GETs, and a GB for a month. */
    put: { type: "string", default: "0.005" },
    get: { type: "string", default: "0.0004" },
    storage: { type: "string", default: "0.023" },
    /** Bytes a page; smaller is quicker, and scales the bytes. */
    "page-size": { type: "string", default: "4096" },
    only: { type: "string", default: "" },
    /** Users of a browser app, each with a day of its own. */
    users: { type: "string", default: "200" },
  },
});

const dollars = (writes: number, reads: number) =>
  (writes * Number(values.put) + reads * Number(values.get)) / 1000;
const pageSize = Number(values["page-size"]);
const codecs = await loadCodecs();
const MB = 1e6;
console.log(
  "A day of each, on simulated time. Requests are those of uploads, snapshots, merging and retention.\n",
);
console.log(
  "| pattern | PUT | LIST | GET | DELETE | level 0 MB | merged MB | ratio | snapshots | requests $/day | storage $/month |",
);
console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
for (const pattern of patterns.filter(({ name }) => name.includes(values.only))) {
  const day = await simulateDay({ ...pattern, pageSize }, codecs);
  const { puts, lists, gets, deletes } = day.requests;
  const requests = dollars(puts + lists, gets);
  const stored = day.level0 + day.higher + day.snapshots;
  const cells = [
    pattern.name,
    puts,
    lists,
    gets,
    deletes,
    (day.level0 / MB).toFixed(1),
    (day.higher / MB).toFixed(1),
    day.level0 === 0 ? "" : ((day.level0 + day.higher) / day.level0).toFixed(2),
    `${day.snapshotCount}, ${(day.snapshots / MB).toFixed(1)} MB`,
    requests.toFixed(3),
    ((stored / 1e9) * Number(values.storage)).toFixed(3),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}

const users = Number(values.users);
if (users > 0 && "users".includes(values.only)) {
  const spreads = await simulateUsers(users, pageSize, codecs);
  console.log(
    `\n${users} users of a browser app, 8 h, with databases of 1 to 20 MB, each with a day of its own.\n`,
  );
  console.log("| | all | least of a user | median | 95 % | most |");
  console.log("| --- | --- | --- | --- | --- | --- |");
  for (const [name, { total, ...spread }] of Object.entries(spreads))
    console.log(`| ${[name, total, ...Object.values(spread)].join(" | ")} |`);
  const cost = dollars(spreads.PUT.total + spreads.LIST.total, spreads.GET.total);
  console.log(`\nRequests: $${cost.toFixed(2)} a day.`);
}
