/** Why a command failed, in one sentence that says what to do. */
import * as Schema from "effect/Schema"
import * as CliError from "effect/cli/CliError"

export class CommandFailed extends Schema.TaggedError<CommandFailed>()("CommandFailed", {
  description: Schema.String
}) {
  override get message(): string {
    return this.description
  }
  override get [CliError.userMessage](): string {
    return this.description
  }
}
