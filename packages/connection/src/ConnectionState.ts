/**
 * Where a connection stands, as data, and the pure function that says how it gets there.
 *
 * The states are gRPC's connectivity states with what a person on call wants to know beside them.
 *
 * @example
 * ```ts
 * import { ConnectionEvent, ConnectionState } from "@mcp-tether/connection"
 *
 * const server = { era: "legacy", protocolVersion: "2025-11-25", name: "files", version: "1.0.0", capabilities: {} } as const
 * const events = [
 *   ConnectionEvent.AttemptStarted({ at: 0, attempt: 1 }),
 *   ConnectionEvent.SessionReady({ at: 120, generation: 1, server, downtimeMillis: undefined })
 * ]
 * events.reduce(ConnectionState.transition, ConnectionState.initial)._tag // => "Ready"
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { ConnectionError } from "./ConnectionError.ts"
import type { ConnectionEvent } from "./ConnectionEvent.ts"
import type { SessionInfo } from "./McpSession.ts"

/**
 * The states. Times are milliseconds since the epoch.
 *
 * `Idle → Connecting → Ready → Reconnecting → Ready …`, and the ends `Failed` (reconnecting cannot help; only `reconnect` leaves
 * it) and `Closed` (the scope closed).
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionState = Data.TaggedEnum<{
  /** Nothing was tried yet: `start: "lazy"`. */
  Idle: {}
  /** There was no session yet, or none is known of any more. `attempt` counts from 1; `cause` is why the last attempt failed. */
  Connecting: {
    readonly attempt: number
    readonly cause: ConnectionError | undefined
    /** When the attempt is due; `undefined` while it runs. */
    readonly nextAttemptAt: number | undefined
  }
  /** A session serves. */
  Ready: {
    readonly generation: number
    /** When it became ready. */
    readonly since: number
    readonly server: SessionInfo
  }
  /** The session was lost at `lostAt`; `cause` is why, or why the last attempt failed. */
  Reconnecting: {
    readonly attempt: number
    readonly cause: ConnectionError
    readonly lostAt: number
    /** When the attempt is due; `undefined` while it runs. */
    readonly nextAttemptAt: number | undefined
  }
  /** Given up: reconnecting cannot help, or the policy ended. `lostAt` is when the last session was lost, if there was one. */
  Failed: { readonly error: ConnectionError; readonly lostAt: number | undefined }
  /** The scope is closed. */
  Closed: {}
}>

/**
 * Constructors and matchers of {@link ConnectionState}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const {
  Idle,
  Connecting,
  Ready,
  Reconnecting,
  Failed,
  Closed,
  $is: is,
  $match: match
} = Data.taggedEnum<ConnectionState>()

const idle = Idle()
const closed = Closed()

/**
 * Where every connection starts.
 *
 * @category constants
 * @since 0.1.0
 */
export const initial: ConnectionState = idle

/**
 * The state after an event. Total: an event that means nothing in a state leaves it as it is. `Closed` is final.
 *
 * @category combinators
 * @since 0.1.0
 */
export const transition = (state: ConnectionState, event: ConnectionEvent): ConnectionState => {
  if (state._tag === "Closed") return state
  switch (event._tag) {
    case "AttemptStarted":
      if (state._tag === "Reconnecting")
        return Reconnecting({ ...state, attempt: event.attempt, nextAttemptAt: undefined })
      return state._tag === "Failed" && state.lostAt !== undefined
        ? Reconnecting({ attempt: event.attempt, cause: state.error, lostAt: state.lostAt, nextAttemptAt: undefined })
        : Connecting({ attempt: event.attempt, cause: causeOf(state), nextAttemptAt: undefined })
    case "SessionReady":
      return Ready({ generation: event.generation, since: event.at, server: event.server })
    case "SessionLost":
      return state._tag === "Ready"
        ? Reconnecting({ attempt: 1, cause: event.error, lostAt: event.at, nextAttemptAt: undefined })
        : state
    case "AttemptScheduled":
      return state._tag === "Reconnecting"
        ? Reconnecting({ ...state, attempt: event.attempt, cause: event.error, nextAttemptAt: event.dueAt })
        : Connecting({ attempt: event.attempt, cause: event.error, nextAttemptAt: event.dueAt })
    case "GaveUp":
      return Failed({
        error: event.error,
        lostAt: state._tag === "Reconnecting" || state._tag === "Failed" ? state.lostAt : undefined
      })
    case "Closed":
      return closed
    case "AttemptFailed":
    case "RequestReplayed":
    case "OutcomeUnknown":
    case "RefreshFailed":
    case "RestorationSkipped":
    case "CatalogChanged":
    case "NotificationsMissed":
      return state
  }
}

/**
 * The last failure that a state knows of.
 *
 * @category getters
 * @since 0.1.0
 */
export const causeOf = (state: ConnectionState): ConnectionError | undefined => {
  switch (state._tag) {
    case "Connecting":
    case "Reconnecting":
      return state.cause
    case "Failed":
      return state.error
    case "Idle":
    case "Ready":
    case "Closed":
      return undefined
  }
}

/**
 * When the next attempt is due, in milliseconds since the epoch, if one is waiting.
 *
 * @category getters
 * @since 0.1.0
 */
export const retryAtOf = (state: ConnectionState): number | undefined =>
  state._tag === "Connecting" || state._tag === "Reconnecting" ? state.nextAttemptAt : undefined
