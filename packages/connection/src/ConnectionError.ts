/**
 * Why a connection could not be made or was lost.
 *
 * One error, {@link ConnectionError}, with a tagged `reason`. The reason answers three questions: does reconnecting help
 * (`isRetryable`), how long did the server ask to be left alone (`retryAfter`), and what is known of a request that it failed
 * (`delivery`). Match on it with `Effect.catchReason`.
 *
 * @example
 * ```ts
 * import { ConnectionError } from "@mcp-tether/connection"
 * import { Effect } from "effect"
 *
 * const failed = new ConnectionError.ConnectionError({
 *   server: "files",
 *   reason: new ConnectionError.ProcessExited({ exitCode: 1 }),
 *   stderrTail: "starting\nconfig.json: no such file\n"
 * })
 *
 * failed.message // => "files: the server process exited with code 1; stderr: config.json: no such file"
 * failed.isRetryable // => true
 * failed.delivery // => "Unknown"
 *
 * const code = Effect.fail(failed).pipe(
 *   Effect.catchReason("ConnectionError", "ProcessExited", (reason) => Effect.succeed(reason.exitCode))
 * )
 * Effect.runSync(code) // => 1
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { Delivery } from "./Delivery.ts"
import { Reason } from "./internal/reasons.ts"
import { oneLine } from "./internal/text.ts"

export * from "./internal/reasons.ts"

/**
 * How many {@link MalformedResponse}s in a row are retried before the connection gives up.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxMalformed = 3

/**
 * A connection could not be made, or was lost.
 *
 * `message` is one line that a person on call can act on: the server, what happened, and the last line of its stderr.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionError extends Schema.TaggedError<ConnectionError>("@mcp-tether/connection/ConnectionError")(
  "ConnectionError",
  {
    /** The connection's name. */
    server: Schema.String,
    reason: Reason,
    /** The last of what the server's process wrote to stderr: 64 KiB at most. */
    stderrTail: Schema.optional(Schema.String)
  }
) {
  override readonly cause = this.reason
  override get message(): string {
    const last = lastLine(this.stderrTail)
    return `${this.server}: ${oneLine(this.reason.message)}${last === undefined ? "" : `; stderr: ${last}`}`
  }
  /** Whether another attempt can help. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
  /** How long the server asked to be left alone, if it did. */
  get retryAfter(): Duration.Duration | undefined {
    return this.reason._tag === "ServerUnavailable" ? this.reason.retryAfter : undefined
  }
  /** What this implies for a request that was handed over and failed with it. */
  get delivery(): Delivery {
    return this.reason.delivery
  }
  /** The exit code of the server's process, when it exited by itself. */
  get exitCode(): number | undefined {
    return this.reason._tag === "ProcessExited" ? this.reason.exitCode : undefined
  }
  /** The signal that ended the server's process, when one did. */
  get signal(): string | undefined {
    return this.reason._tag === "ProcessExited" ? this.reason.signal : undefined
  }
}

const lastLine = (text: string | undefined): string | undefined => {
  const line = oneLine(
    text
      ?.trimEnd()
      .split(/[\r\n]/)
      .at(-1) ?? ""
  )
  return line === "" ? undefined : line
}
