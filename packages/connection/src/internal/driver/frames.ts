/** What an error keeps alive besides its words. */

/** Longer chains of causes than the driver makes; one that comes back to itself ends here, too. */
const longestChain = 8

/**
 * Lets go of the frames of an error and of its causes, and hands it on. Until its stack is first read, V8 keeps with an error the
 * functions on that stack and what they ran on: a loss would keep its whole session in memory, for as long as anybody keeps the loss.
 * The frames are the driver's, and say nothing of the failure: to write them down would cost more than the rest of the error.
 */
export const withoutFrames = <E extends Error>(error: E): E => {
  let current: unknown = error
  for (let depth = 0; depth < longestChain && current instanceof Error; depth += 1) {
    // Somebody else's may be frozen.
    if (!Reflect.set(current, "stack", String(current))) void current.stack
    current = current.cause
  }
  return error
}
