// The page of an app that has sqlite-sluice in a worker. It hands what the address holds to the worker, and shows its answer.
const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
worker.onmessage = ({ data }) => {
  globalThis.answer = data;
};
worker.onerror = ({ message }) => {
  globalThis.answer = { error: message ?? "the worker did not load" };
};
worker.postMessage(JSON.parse(decodeURIComponent(location.hash.slice(1))));
