/** A broken rule; public through `ConnectionProbe`. */
import * as Schema from "effect/Schema"

/**
 * Schema of {@link Violation}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Violation = Schema.Struct({
  /** Its number in the design (§12). */
  rule: Schema.Int,
  /** What is wrong. */
  what: Schema.String,
  /** What led to it, a line for each thing that happened. */
  story: Schema.Array(Schema.String)
})

/**
 * A rule that was broken.
 *
 * @category models
 * @since 0.1.0
 */
export type Violation = typeof Violation.Type

/**
 * One or more rules were broken. The message tells their stories.
 *
 * @category errors
 * @since 0.1.0
 */
export class RulesBroken extends Schema.TaggedError<RulesBroken>("@mcp-tether/testing/RulesBroken")("RulesBroken", {
  violations: Schema.NonEmptyArray(Violation)
}) {
  override get message(): string {
    return this.violations
      .map(({ rule, story, what }) => [`rule ${rule}: ${what}`, ...story.map((line) => `  ${line}`)].join("\n"))
      .join("\n")
  }
}
