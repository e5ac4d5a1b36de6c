/** For a SharedWorker: who is there, and who has the database. */
const tabs = new Set<MessagePort>();
let holder: MessagePort | null = null;

addEventListener("connect", (event) => {
  const [tab] = (event as MessageEvent).ports as [MessagePort];
  tabs.add(tab);
  tab.onmessage = ({ data, ports }) => {
    if (data === "serve") return holder?.postMessage("serve", [...ports]);
    holder = tab; // "holding"
    for (const each of tabs) each.postMessage("connect");
  };
  tab.addEventListener("close", () => tabs.delete(tab));
  if (holder !== null) tab.postMessage("connect");
});
