import { Crash, Life, type World } from "./world.ts";

/** Somebody beside the writers, in one process after the other. */
export abstract class Outsider {
  clockAhead = 0;
  life: Life;
  #lives = 0;
  #ended = false;

  constructor(
    readonly name: string,
    readonly world: World,
    /** The longest from the end of a process to what the next one does, milliseconds. */
    readonly pauseMs: number,
  ) {
    this.life = new Life(world, `${name}0`, 0);
  }

  /** Operations until the next process crashes. */
  protected abstract crashAfter(): number;

  protected abstract run(life: Life): Promise<void>;

  begin(): void {
    if (this.#ended) return;
    const life = this.live(this.crashAfter());
    life.onEnd = () => this.begin();
    life.schedule(this.world.random.below(this.pauseMs), "begins", async () => {
      await this.run(life).catch((error: unknown) => {
        if (!life.dead && !(error instanceof Crash)) this.world.fail(error);
      });
    });
  }

  end(): void {
    this.#ended = true;
    this.life.wake();
    this.life.end();
  }

  /** Its machine may be asleep, whatever becomes of the process. */
  protected live(operations: number): Life {
    this.#lives += 1;
    const life = new Life(this.world, `${this.name}${this.#lives}`, operations);
    life.sleep(this.life.asleepUntil);
    this.life = life;
    return life;
  }
}
