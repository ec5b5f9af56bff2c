/**
 * A token bucket over all replays of a connection: a reconnect must not multiply the load on a server that has just come back
 * (gRPC A6, Retry Throttling).
 */

export interface Options {
  /** How many replays at once. */
  readonly burst: number
  /** How many more each second. */
  readonly perSecond: number
}

export interface ReplayBudget {
  /** Takes one token; `false` when there is none. */
  readonly spend: (now: number) => boolean
}

export const make = ({ burst, perSecond }: Options): ReplayBudget => {
  let tokens = burst
  let at = Number.NEGATIVE_INFINITY
  return {
    spend: (now) => {
      const elapsed = Math.max(0, now - at)
      tokens = Number.isFinite(elapsed) ? Math.min(burst, tokens + (elapsed / 1000) * perSecond) : burst
      at = now
      if (tokens < 1) return false
      tokens -= 1
      return true
    }
  }
}
