import { expect, test } from "vitest";
import { systemClock } from "../../node/clock.ts";
import { StateError } from "../../src/errors.ts";
import { Loop, type Task } from "../../src/loop.ts";

test("what waits behind a run when the loop ends does not begin any more, and is told", async () => {
  let runs = 0;
  let finish = () => {};
  const task: Task = {
    holding: true,
    due: () => null,
    run: () => {
      runs += 1;
      return new Promise((resolve) => {
        finish = resolve;
      });
    },
    failed: () => false,
  };
  const loop = new Loop(systemClock, [task]);
  const first = loop.run(task);
  const second = loop.run(task);
  const ended = loop.end();
  finish();
  await expect(second).rejects.toThrow(StateError);
  await first;
  await ended;
  expect(runs).toBe(1);
});
