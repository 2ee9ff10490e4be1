/** A failure of the testbed that a user can act on: its message stands alone. */
export class TestbedError extends Error {
  /** Tells it from a programming error in logs and in `catch`. */
  override name = "TestbedError";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
