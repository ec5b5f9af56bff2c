/** `mcp-tether demo`: kills a real server in every way the library heals, and shows what becomes of the calls. */
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { createRequire } from "node:module"
import * as Stage from "./Stage.ts"
import * as Steps from "./steps.ts"
import { Timeline } from "./Timeline.ts"

const serverPackage = "@modelcontextprotocol/server-everything"

export class DemoFailed extends Schema.TaggedError<DemoFailed>()("DemoFailed", { description: Schema.String }) {
  override get message(): string {
    return this.description
  }
  override get [CliError.userMessage](): string {
    return this.description
  }
}

/** The third-party server is a package of its own: the demo downloads nothing. */
const findServer = Effect.try({
  try: () => {
    const require = createRequire(import.meta.url)
    const manifest: { readonly version: string } = require(`${serverPackage}/package.json`)
    return { path: require.resolve(`${serverPackage}/dist/index.js`), version: manifest.version }
  },
  catch: () => new DemoFailed({ description: `the demo needs a real server to kill: npm install ${serverPackage}` })
})

const flags = {
  transport: Flag.Literals("transport", ["stdio", "http"]).pipe(
    Flag.withDescription("How the servers are reached. Default: stdio"),
    Flag.withDefault("stdio" as const)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON object a line, and a last one with the summary"),
    Flag.withDefault(false)
  )
}

const run = Effect.fnUntraced(function* ({
  json,
  transport
}: {
  readonly json: boolean
  readonly transport: "stdio" | "http"
}) {
  if (process.platform === "win32") {
    return yield* new DemoFailed({ description: "the demo kills process groups, which Windows does not have" })
  }
  const server = yield* findServer
  const stage = (transport === "http" ? Stage.http : Stage.stdio)(server.path)
  const headline = `mcp-tether demo: ${serverPackage} ${server.version} over ${stage.over}, Node ${process.versions.node}`
  const ok = yield* Effect.gen(function* () {
    yield* Steps.all(stage)
    return yield* (yield* Timeline).end
  }).pipe(
    Effect.provide(Timeline.layer({ json, headline })),
    // The timeline tells it all; the library's own log lines would tell it twice.
    Effect.provideService(References.MinimumLogLevel, "None")
  )
  if (!ok) return yield* new DemoFailed({ description: "the demo did not go as told" })
})

export const demo = Command.make("demo", flags, run).pipe(
  Command.withDescription("Kill a real MCP server, again and again, and watch the calls come through"),
  Command.withExamples([
    { command: "mcp-tether demo", description: "Over stdio" },
    { command: "mcp-tether demo --transport http --json", description: "Over Streamable HTTP, for programs" }
  ])
)
