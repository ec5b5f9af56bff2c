/** How long everything may take, in milliseconds. */
export interface Plan {
  readonly rounds: number
  /** How many clients are measured at the same time. Most of their time is waiting. */
  readonly lanes: number
  /** Between a kill and the call after it, where the client may notice. */
  readonly idle: number
  /** How long an HTTP server is away. */
  readonly down: number
  /** When a call that has no answer counts as hanging. */
  readonly hang: number
  /** How long calls are made after one that failed, and how often. */
  readonly window: number
  readonly every: number
  /** When a close that does not end counts as hanging. */
  readonly close: number
  /** When a whole scenario is given up, and its process killed. */
  readonly bound: number
}

export const full: Plan = {
  rounds: 5,
  lanes: 3,
  idle: 1_500,
  down: 500,
  hang: 5_000,
  window: 3_000,
  every: 100,
  close: 10_000,
  bound: 60_000
}

export const quick: Plan = { ...full, rounds: 2, lanes: 8, hang: 3_000, window: 1_500, close: 6_000, bound: 20_000 }
