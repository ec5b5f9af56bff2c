/**
 * How a connection fares, in three things that are easily taken for one: whether a transport is open, whether a session serves,
 * and whether the last requests were answered. A state of `Ready` says the second, and hides neither of the others.
 *
 * @example
 * ```ts
 * import { type Health } from "@mcp-tether/connection"
 *
 * // For a dashboard: red is nobody there, yellow is somebody who does not do what is asked.
 * const light = ({ requests, serving }: Health.Health): "red" | "yellow" | "green" =>
 *   serving === undefined ? "red" : requests.consecutiveFailures >= 3 ? "yellow" : "green"
 *
 * const health: Health.Health = {
 *   transport: "open",
 *   serving: { generation: 2, since: 1_000 },
 *   lastHeardAt: 61_000,
 *   inFlight: 0,
 *   waiting: 0,
 *   requests: { lastSuccessAt: 2_000, lastFailure: { at: 61_000, tag: "RequestTimeout" }, consecutiveFailures: 3 }
 * }
 * light(health) // => "yellow"
 * ```
 *
 * @since 0.1.0
 */
import type { RequestError } from "./RequestError.ts"

/**
 * How a connection fares at one moment. Times are milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Health {
  /**
   * The way to the server. `"opening"`: an attempt runs, and has not shaken hands yet; `"open"`: it has. While `refresh` opens a
   * second one, this is about the one that serves.
   */
  readonly transport: "closed" | "opening" | "open"
  /** The session that serves: handshaken, restored and published. `undefined`: there is none, also while one is being restored. */
  readonly serving: Serving | undefined
  /** When the server last sent anything, in this session or an earlier one. `undefined`: no session was ever opened. */
  readonly lastHeardAt: number | undefined
  /** How many requests wait for their answer on the session that serves. */
  readonly inFlight: number
  /** How many requests wait for a session. */
  readonly waiting: number
  readonly requests: Requests
}

/**
 * The session that serves, since it was opened.
 *
 * @category models
 * @since 0.1.0
 */
export interface Serving {
  readonly generation: number
  readonly since: number
}

/**
 * How the last requests ended, over all sessions; one that its caller interrupted, or that was no valid request, does not count.
 *
 * @category models
 * @since 0.1.0
 */
export interface Requests {
  /** When a request last had a result; a tool's own `isError` is one. */
  readonly lastSuccessAt: number | undefined
  readonly lastFailure: Failure | undefined
  /** How many have failed since the last that had a result. */
  readonly consecutiveFailures: number
}

/**
 * A request that failed: when, and with which error.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failure {
  readonly at: number
  readonly tag: RequestError["_tag"]
}
