export * from "../src/public.ts";
