/** The commands of `mcp-tether`. */
import * as Effect from "effect/Effect"
import type * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import packageJson from "../package.json" with { type: "json" }
import { TokenStore } from "./auth/TokenStore.ts"
import type { CommandFailed } from "./CommandFailed.ts"
import { chaos } from "./chaos/command.ts"
import { call } from "./commands/call.ts"
import { login } from "./commands/login.ts"
import { logout } from "./commands/logout.ts"
import { ping } from "./commands/ping.ts"
import { prompts } from "./commands/prompts.ts"
import { read } from "./commands/read.ts"
import { resources } from "./commands/resources.ts"
import { tools } from "./commands/tools.ts"
import { demo, type DemoFailed } from "./demo/command.ts"
import { doctor } from "./doctor/command.ts"
import { status } from "./status/command.ts"
import { watch } from "./watch/command.ts"
import { simulate, type SimulateFailed } from "./simulate/command.ts"

/** All commands. */
export const root = Command.make("mcp-tether").pipe(
  Command.withDescription("MCP connections that survive their servers"),
  Command.withSubcommands([
    demo,
    chaos,
    simulate,
    doctor,
    status,
    watch,
    login,
    logout,
    tools,
    call,
    resources,
    prompts,
    read,
    ping
  ])
)

const runRoot = Command.runWith(root, { version: packageJson.version })

/** Runs the command that the arguments name. */
export const run = (
  args: ReadonlyArray<string>
): Effect.Effect<void, CliError.CliError | CommandFailed | DemoFailed | SimulateFailed, Command.Environment> =>
  Effect.provide(runRoot(args), TokenStore.layer)
