/** For properties of fast-check: SLUICE_SEED, or one of its own choice, which it prints when something fails. */
export const seed: { readonly seed?: number } =
  process.env.SLUICE_SEED === undefined ? {} : { seed: Number(process.env.SLUICE_SEED) };
