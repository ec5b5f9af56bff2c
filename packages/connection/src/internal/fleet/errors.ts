/** The errors of a fleet; public through `McpFleet`. */
import * as Schema from "effect/Schema"
import { ConnectionError } from "../../ConnectionError.ts"

/**
 * Servers that the fleet must not be without could not be reached.
 *
 * @category errors
 * @since 0.1.0
 */
export class FleetNotStarted extends Schema.TaggedError<FleetNotStarted>("@mcp-tether/connection/FleetNotStarted")(
  "FleetNotStarted",
  {
    failures: Schema.NonEmptyArray(Schema.Struct({ server: Schema.String, error: ConnectionError }))
  }
) {
  override get message(): string {
    return `required servers could not be reached: ${this.failures.map(({ error }) => error.message).join("; ")}`
  }
}

/**
 * The fleet has no server of this name.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownServer extends Schema.TaggedError<UnknownServer>("@mcp-tether/connection/UnknownServer")(
  "UnknownServer",
  {
    server: Schema.String,
    /** The names that it has. */
    known: Schema.Array(Schema.String)
  }
) {
  override get message(): string {
    return `there is no server "${this.server}"; ${this.known.length === 0 ? "there is none at all" : `there are ${this.known.join(", ")}`}`
  }
}
