import * as CliError from "effect/cli/CliError"
import * as Schema from "effect/Schema"

/** A measurement could not be taken, or an answer was wrong. A target that is missed is no failure. */
export class BenchFailed extends Schema.TaggedError<BenchFailed>()("BenchFailed", { description: Schema.String }) {
  override get message(): string {
    return this.description
  }
  override get [CliError.userMessage](): string {
    return this.description
  }
}
