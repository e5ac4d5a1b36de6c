const WHO = [
  "The miller",
  "A heron",
  "The lock keeper",
  "Rain",
  "My neighbour",
  "The old canal",
  "Nobody",
  "A barge",
];
const DOES = ["waits for", "remembers", "opens", "forgets", "measures", "listens to", "paints", "carries"];
const WHAT = [
  "the gate",
  "a letter",
  "high water",
  "the long night",
  "seven stones",
  "the tide",
  "a lantern",
  "the ledger",
];
const WHEN = [
  "at dawn",
  "in silence",
  "twice",
  "before the flood",
  "by heart",
  "every spring",
  "after all",
  "for once",
];

/** Something to search for: the same for the same number. */
export function sentence(number: number): string {
  const pick = (words: readonly string[], step: number) => words[Math.floor(number / step) % words.length];
  return `${pick(WHO, 1)} ${pick(DOES, 3)} ${pick(WHAT, 5)} ${pick(WHEN, 7)}. No. ${number}`;
}
