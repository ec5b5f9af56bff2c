/**
 * When a silent session counts as dead.
 *
 * Any byte from the server is life, and so is any answer to a probe, even an error. A server with a request in flight is busy,
 * not dead.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"

/**
 * The liveness policy of a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Heartbeat {
  /** How long the server may be silent before it is probed. Default: 30 seconds. */
  readonly interval: Duration.Duration
  /** How long a probe waits for its answer. Default: 10 seconds. */
  readonly timeout: Duration.Duration
  /** How many probes in a row may go unanswered; with that many the session is lost. Default: 3. */
  readonly misses: number
  /** How long a server with a request in flight may be silent before it is probed after all. Default: 5 minutes. */
  readonly busyGrace: Duration.Duration
}

/**
 * What {@link make} takes. Durations take anything `Duration.Input` does.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly interval?: Duration.Input | undefined
  readonly timeout?: Duration.Input | undefined
  readonly misses?: number | undefined
  readonly busyGrace?: Duration.Input | undefined
}

/**
 * A heartbeat with the defaults filled in.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Heartbeat => ({
  interval: Duration.fromInputUnsafe(options.interval ?? defaultInterval),
  timeout: Duration.fromInputUnsafe(options.timeout ?? defaultTimeout),
  misses: options.misses ?? 3,
  busyGrace: Duration.fromInputUnsafe(options.busyGrace ?? defaultBusyGrace)
})

const defaultInterval = Duration.seconds(30)
const defaultTimeout = Duration.seconds(10)
const defaultBusyGrace = Duration.minutes(5)
