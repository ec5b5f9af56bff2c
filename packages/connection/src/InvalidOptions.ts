/**
 * An option that is not what it should be.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * One or more options are wrong. Nothing was opened.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidOptions extends Schema.TaggedError<InvalidOptions>("@mcp-tether/connection/InvalidOptions")(
  "InvalidOptions",
  {
    /** What the options belong to, like `McpTransport.stdio`. */
    of: Schema.String,
    issues: Schema.NonEmptyArray(
      Schema.Struct({
        /** The path of the option, like `args[1]`. */
        option: Schema.String,
        /** What it takes. */
        expected: Schema.String,
        /** What it got: its type, and its value where that can hold no secret. */
        actual: Schema.String
      })
    )
  }
) {
  override get message(): string {
    const issues = this.issues.map(({ actual, expected, option }) => `${option}: expected ${expected}, got ${actual}`)
    return `invalid options of ${this.of}: ${issues.join("; ")}`
  }
}
