/** The commands of `mcp-tether`. */
import type * as Effect from "effect/Effect"
import type * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import packageJson from "../package.json" with { type: "json" }
import { demo, type DemoFailed } from "./demo/command.ts"
import { simulate, type SimulateFailed } from "./simulate/command.ts"

const root = Command.make("mcp-tether").pipe(
  Command.withDescription("MCP connections that survive their servers"),
  Command.withSubcommands([demo, simulate])
)

/** Runs the command that the arguments name. */
export const run: (
  args: ReadonlyArray<string>
) => Effect.Effect<void, CliError.CliError | DemoFailed | SimulateFailed, Command.Environment> = Command.runWith(root, {
  version: packageJson.version
})
