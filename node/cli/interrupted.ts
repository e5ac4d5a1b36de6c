/** Resolves when somebody asks the process to end. A second signal ends it as it always does. */
export function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      process.off("SIGINT", end).off("SIGTERM", end);
      resolve();
    };
    process.on("SIGINT", end).on("SIGTERM", end);
  });
}
