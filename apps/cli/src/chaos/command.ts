/** `mcp-tether chaos`: load and kills for a while, and whether every call came through. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { randomBytes } from "node:crypto"
import { CommandFailed } from "../CommandFailed.ts"
import * as Output from "../commands/Output.ts"
import { durationFlag, json, quietly, transportTo } from "../commands/Session.ts"
import * as Servers from "../commands/Servers.ts"
import * as Target from "../commands/Target.ts"
import * as Page from "./page.ts"
import { play } from "./play.ts"
import * as Subject from "./Subject.ts"
import { documentOf, headlineOf, linesOf } from "./summary.ts"
import * as Workload from "./workload.ts"

const between = (name: string, low: number, high: number) =>
  [
    (value: number) => value >= low && value <= high,
    (value: number) => `--${name} ${value}: it has to be from ${low} to ${high}`
  ] as const

const flags = {
  server: Target.operandsOrOwn,
  ...Servers.flags,
  for: durationFlag("for", "How long", "30s"),
  rate: Flag.Finite("rate").pipe(
    Flag.withDescription("Calls a second, on the average. Default: 20"),
    Flag.withDefault(20),
    Flag.filter(...between("rate", 0.1, 10_000))
  ),
  concurrency: Flag.Int("concurrency").pipe(
    Flag.withDescription("How many calls may be under way at a time. Default: 8"),
    Flag.withDefault(8),
    Flag.filter(...between("concurrency", 1, 1000))
  ),
  killEvery: durationFlag("kill-every", "How long it is left in peace between two kills, on the average", "3s"),
  seed: Flag.String("seed").pipe(
    Flag.withDescription(
      "What is killed when and how, and what is called: the same seed, the same plan. Default: a new one"
    ),
    Flag.optional
  ),
  tool: Flag.String("tool").pipe(
    Flag.withDescription(
      "What to call, very often. Default: lists, pings, and the read-only tools that need no arguments"
    ),
    Flag.optional
  ),
  arg: Flag.KeyValuePair("arg").pipe(
    Flag.withDescription("An argument of the tool, like text=hello-{n}, where {n} becomes another text in each call"),
    Flag.withDefault({})
  ),
  transport: Flag.Literals("transport", ["stdio", "http"]).pipe(
    Flag.withDescription("How the server that comes with this command is reached. Default: stdio"),
    Flag.optional
  ),
  replay: Flag.Literals("replay", ["safe", "always", "never"]).pipe(
    Flag.withDescription("Which calls the connection may send again. Default: safe"),
    Flag.withDefault("safe" as const)
  ),
  timeout: durationFlag("timeout", "How long a call waits for a session, and how long for its answer", "30s"),
  html: Flag.String("html").pipe(
    Flag.withDescription("Write a page with the verdict, the figures and a timeline into this file"),
    Flag.withMetavar("file"),
    Flag.optional
  ),
  json
}

type Flags = Command.Command.Config.Infer<typeof flags>

const refuse = (description: string) => Effect.fail(new CommandFailed({ description }))

/** What is put under load, as the flags and operands say. */
const subjectOf = Effect.fnUntraced(function* ({ arg, config, project, server, tool, transport, ...options }: Flags) {
  const target = server.length === 0 ? undefined : yield* Target.parse(server, { config, project })
  if (Option.isNone(tool) && Object.keys(arg).length > 0) return yield* refuse("--arg needs a --tool")
  if (target === undefined) {
    if (Option.isSome(tool)) return yield* refuse("--tool needs a server: name one, or give its command after --")
    if (Option.isSome(config) || project) return yield* refuse("which of the configured servers? Give its name")
    // It ends by itself some time after us, should we be killed.
    const lifetime = 2 * Duration.toMillis(options.for) + 8 * Duration.toMillis(options.timeout) + 60_000
    return yield* Subject.bundled(
      Option.getOrElse(transport, () => "stdio" as const),
      lifetime
    )
  }
  if (Target.wayOf(target)._tag === "Url")
    return yield* refuse(
      `chaos kills only servers that it has started itself, and ${Target.nameOf(target)} is none of them: give the server's command after --, or none at all for the one that comes with it (--transport http has it behind HTTP)`
    )
  if (Option.isSome(transport)) return yield* refuse("--transport is for the server that comes with this command")
  const workload = Option.isSome(tool) ? Workload.named(tool.value, arg) : Workload.readOnly
  return Subject.command(Target.nameOf(target), yield* transportTo(target), Target.filterOf(target), workload)
})

const run = Effect.fnUntraced(function* (given: Flags) {
  if (process.platform === "win32") return yield* refuse("chaos kills process groups, which Windows does not have")
  const fs = yield* FileSystem.FileSystem
  const file = Option.getOrUndefined(given.html)
  const write = (text: string, flag: "a" | "w") =>
    file === undefined
      ? Effect.void
      : Effect.mapError(
          fs.writeFileString(file, text, { flag }),
          (error) => new CommandFailed({ description: `${file} cannot be written: ${error.reason._tag}` })
        )
  // Whether the page can be written is better known now than in the end.
  const subject = Effect.tap(subjectOf(given), () => write("", "a"))
  const recorded = yield* play(subject, {
    seed: Option.getOrElse(given.seed, () => randomBytes(4).toString("hex")),
    forMillis: Duration.toMillis(given.for),
    rate: given.rate,
    concurrency: given.concurrency,
    killEveryMillis: Duration.toMillis(given.killEvery),
    replay: given.replay,
    timeoutMillis: Duration.toMillis(given.timeout)
  })
  const document = documentOf(recorded)
  yield* write(Page.page(document), "w")
  if (given.json) yield* Output.jsonLine(document)
  else yield* Effect.forEach(linesOf(document), (line) => Output.line(line), { discard: true })
  if (!document.holds) return yield* refuse(headlineOf(document))
  if (recorded.interrupted) return yield* Effect.interrupt
})

export const chaos = Command.make("chaos", flags, (given) =>
  // Who interrupts gets what was until then: `play` lets itself be interrupted, and what follows does not.
  Effect.uninterruptible(quietly(run(given)))
).pipe(
  Command.withDescription("Put a server under load, kill it again and again, and see whether every call comes through"),
  Command.withExamples([
    {
      command: "mcp-tether chaos --html report.html",
      description:
        "The server that comes with this command, whose ledger knows what ran, for half a minute; with a page"
    },
    {
      command: "mcp-tether chaos --for 5m --transport http --seed 42 --json",
      description: "The same behind HTTP, for programs, with kills that can be repeated"
    },
    {
      command: "mcp-tether chaos -- npx -y @modelcontextprotocol/server-everything",
      description: "A server of yours: its read-only tools, lists and pings"
    },
    { command: "mcp-tether chaos files --for 2m", description: "The same, of a server that is configured" },
    {
      command:
        "mcp-tether chaos --tool echo --arg 'message=hello {n}' -- npx -y @modelcontextprotocol/server-everything",
      description: "One tool of it; {n} tells the calls apart, so that every answer is checked"
    }
  ])
)
