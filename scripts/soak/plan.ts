/** How much is done, and what still counts as flat. */
import type * as Crowd from "./crowd.ts"
import type * as Reconnects from "./reconnects.ts"

export interface Plan {
  readonly name: "long" | "short"
  readonly reconnects: Reconnects.Plan
  readonly crowd: Crowd.Plan
  /** What takes longer than this hangs. In minutes. */
  readonly within: number
}

/**
 * The limits are below what the smallest leak would be. A closure that somebody holds is 64 bytes at the least, a listener or a
 * fiber several hundred, a session some ten thousand. Resident memory moves by megabytes as the allocator likes, so its limit only
 * finds what the heap does not show.
 *
 * Turns are counted in threes, since sessions over HTTP are lost in three ways in turn: at each rest the last one was the same, and so is what
 * the session that serves has had to do, and has fibers for.
 */
export const long: Plan = {
  name: "long",
  reconnects: { warmUp: 999, turns: 10_050, every: 402, lookEvery: 5, heapPerTurn: 64, rssPerTurn: 1_024 },
  crowd: { connections: 1_000, rounds: 3, look: true, heapPerConnection: 256 },
  within: 60
}

/**
 * In so few turns, what the engine learns about the code meanwhile weighs some hundred bytes for each: only a leak of a session, or
 * of a small part of one, shows in the heap. What is counted is counted as exactly as in the long one.
 */
export const short: Plan = {
  name: "short",
  reconnects: { warmUp: 60, turns: 204, every: 51, lookEvery: 4, heapPerTurn: 2_048, rssPerTurn: 65_536 },
  crowd: { connections: 100, rounds: 2, look: false, heapPerConnection: 4_096 },
  within: 5
}
