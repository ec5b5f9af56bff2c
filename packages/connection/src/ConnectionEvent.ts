/**
 * What happened to a connection, as data.
 *
 * The state is the fold of these events (`ConnectionState.transition`), so a log of them explains every state. No event carries
 * arguments, results, headers or environment.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { Changes } from "./Catalog.ts"
import type { ConnectionError } from "./ConnectionError.ts"
import type { Delivery } from "./Delivery.ts"
import type { SessionInfo } from "./McpSession.ts"

/**
 * The events. `at` is when, in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionEvent = Data.TaggedEnum<{
  /** Opening a session begins. `attempt` counts from 1 since the start or the last loss. */
  AttemptStarted: { readonly at: number; readonly attempt: number }
  /** Opening a session failed. */
  AttemptFailed: { readonly at: number; readonly attempt: number; readonly error: ConnectionError }
  /** The policy answered: attempt `attempt` is due at `dueAt`, after `delayMillis`. */
  AttemptScheduled: {
    readonly at: number
    readonly attempt: number
    readonly error: ConnectionError
    readonly delayMillis: number
    readonly dueAt: number
  }
  /** A session is published and serves. `downtimeMillis` is how long there was none, when one was lost before. */
  SessionReady: {
    readonly at: number
    readonly generation: number
    readonly server: SessionInfo
    readonly downtimeMillis: number | undefined
  }
  /** The published session is gone. `proven`: it lived `stableAfter`, so the ladder starts anew. */
  SessionLost: {
    readonly at: number
    readonly generation: number
    readonly error: ConnectionError
    readonly proven: boolean
  }
  /** The session that should have replaced session `generation` could not be opened; the old one goes on serving. */
  RefreshFailed: { readonly at: number; readonly generation: number; readonly error: ConnectionError }
  /** No further attempt: the error is not retryable, or the policy ended. */
  GaveUp: { readonly at: number; readonly error: ConnectionError }
  /** A request failed on session `from` and is sent again on session `to`. */
  RequestReplayed: {
    readonly at: number
    readonly method: string
    readonly tool: string | undefined
    readonly from: number
    readonly to: number
    readonly delivery: Delivery
  }
  /** With `restore: "best-effort"`: a step of the restoration failed, and the session serves without it. */
  RestorationSkipped: {
    readonly at: number
    readonly generation: number
    readonly step: string
    readonly error: ConnectionError
  }
  /** A list of the server is not what it was. Entries that came, went, or changed are named; see `catalog` for the lists. */
  CatalogChanged: { readonly at: number; readonly generation: number; readonly changes: Changes }
  /**
   * A stream of the server's notifications broke and is open again: what the server said meanwhile is lost. The lists that were asked
   * for are read again, and readers of resources hear `MayHaveMissed`.
   */
  NotificationsMissed: { readonly at: number; readonly generation: number }
  /** A caller was told that its request may have run. */
  OutcomeUnknown: {
    readonly at: number
    readonly method: string
    readonly tool: string | undefined
    readonly requestId: string | number | undefined
    readonly generation: number
  }
  /** The scope closed. */
  Closed: { readonly at: number }
}>

/**
 * Constructors and matchers of {@link ConnectionEvent}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const {
  AttemptStarted,
  AttemptFailed,
  AttemptScheduled,
  SessionReady,
  SessionLost,
  RefreshFailed,
  GaveUp,
  RequestReplayed,
  OutcomeUnknown,
  RestorationSkipped,
  CatalogChanged,
  NotificationsMissed,
  Closed,
  $is: is,
  $match: match
} = Data.taggedEnum<ConnectionEvent>()
