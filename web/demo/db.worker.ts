// The notes, replicated: everything that touches the database. The page asks by name, and is told what happens.
import { type Calls, calls } from "./calls.ts";
import { type Answer, fieldsOf, type Question } from "./messages.ts";

addEventListener("message", async ({ data }: MessageEvent<Question | { readonly sluice: string }>) => {
  if ("sluice" in data) return; // for the replicator
  const { number, call, parameters } = data;
  const act = calls[call as keyof Calls] as (...parameters: unknown[]) => unknown;
  let answer: Answer;
  try {
    answer = { number, result: await act(...parameters) };
  } catch (thrown) {
    answer = { number, thrown: fieldsOf(thrown) };
  }
  postMessage(answer);
});
