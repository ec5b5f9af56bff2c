/** One server, looked at: is it found, does it start, what does it speak, how fast, and what does it offer? */
import {
  ConnectionError,
  type InvalidOptions,
  McpConnection,
  type McpTransport,
  ReconnectPolicy,
  type RequestError
} from "@mcp-tether/connection"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import packageJson from "../../package.json" with { type: "json" }
import { CommandFailed } from "../CommandFailed.ts"
import { transportTo } from "../commands/Session.ts"
import type { Broken } from "../commands/Servers.ts"
import * as Target from "../commands/Target.ts"
import * as Advice from "./advice.ts"

/** What a server has said of itself. Times are in milliseconds. */
export interface Introduction {
  readonly name: string
  readonly version: string
  readonly era: "legacy" | "modern"
  readonly protocolVersion: string
  readonly handshakeMillis: number
}

/** What was found. */
export type Diagnosis =
  | (Introduction & {
      readonly server: string
      readonly healthy: true
      readonly pingMillis: number
      readonly tools: number
    })
  | (Partial<Introduction> & {
      readonly server: string
      readonly healthy: false
      readonly problem: string
      readonly reason: string
      readonly advice: string
      /** The last of what the server wrote to stderr. */
      readonly stderr?: string
    })

/** How long a server may take until its session serves, and until it has answered everything. */
export interface Bounds {
  readonly start: Duration.Duration
  readonly all: Duration.Duration
}

type AnyError = ConnectionError.ConnectionError | InvalidOptions.InvalidOptions | RequestError.RequestError

/** Looks at a server. It answers within its bounds: what was opened is closed with the `Scope`, and that may take longer. */
export const look = Effect.fnUntraced(function* (target: Target.Target, { all, start }: Bounds) {
  const server = Target.nameOf(target)
  const transport = yield* transportTo(target)
  const begin = yield* Clock.currentTimeMillis
  let known: Introduction | undefined
  return yield* Effect.gen(function* () {
    const connection = yield* McpConnection.make({
      name: server,
      transport: impatient(transport),
      client: { name: "mcp-tether", version: packageJson.version },
      // Whoever waits for a start that fails waits for its end, too.
      start: "background",
      startupTimeout: start,
      requestTimeout: start,
      // What is wrong shall be seen, not healed.
      policy: ReconnectPolicy.bounded(0),
      heartbeat: "off"
    })
    const { capabilities, era, name, protocolVersion, version } = (yield* connection.awaitReady).server
    const ready = yield* Clock.currentTimeMillis
    const introduction = { name, version, era, protocolVersion, handshakeMillis: ready - begin }
    known = introduction
    const asked = Effect.gen(function* () {
      yield* connection.ping()
      const pingMillis = (yield* Clock.currentTimeMillis) - ready
      const tools = capabilities.tools === undefined ? [] : yield* connection.listTools()
      return { server, healthy: true, ...introduction, pingMillis, tools: tools.length } satisfies Diagnosis
    })
    return yield* Effect.timeoutOrElse(asked, {
      duration: Duration.subtract(all, Duration.millis(introduction.handshakeMillis)),
      orElse: () => Effect.succeed(silent(server, all))
    })
  }).pipe(
    Effect.catch((error) => Effect.succeed(sick(server, Target.wayOf(target), error))),
    Effect.map((diagnosis): Diagnosis => ({ ...known, ...diagnosis }))
  )
})

/** As {@link look}, and closes what was opened. */
export const diagnose = (target: Target.Target, bounds: Bounds) => Effect.scoped(look(target, bounds))

/** Somebody waits: a start that still writes is cut off as well (which a connection would not do, for the sake of `npx`). */
const impatient = <R>(transport: McpTransport.McpTransport<R>): McpTransport.McpTransport<R> => ({
  ...transport,
  open: (context) => transport.open({ ...context, onActivity: () => undefined })
})

const sick = (server: string, way: Advice.Way, error: AnyError): Diagnosis => {
  const reason = error._tag === "InvalidOptions" ? undefined : Advice.reasonOf(error)
  const cause =
    error._tag === "ConnectionError" ? error : error._tag === "ConnectionUnavailable" ? error.cause : undefined
  const stderr = cause instanceof ConnectionError.ConnectionError ? cause.stderrTail?.trimEnd() : undefined
  return {
    server,
    healthy: false,
    problem: reason?.message ?? error.message,
    reason: reason?._tag ?? error._tag,
    advice: reason === undefined ? "see mcp-tether ping --log-level debug" : Advice.of(way, reason),
    ...(stderr === undefined || stderr === "" ? {} : { stderr })
  }
}

const silent = (server: string, all: Duration.Duration): Diagnosis => ({
  server,
  healthy: false,
  problem: `it has not answered everything within ${Duration.format(all)}`,
  reason: "RequestTimeout",
  advice: "try again with a longer --timeout"
})

/** A server whose configuration cannot be used. */
export const misconfigured = ({ name, problem }: Broken): Diagnosis => ({
  server: name,
  healthy: false,
  problem,
  reason: "InvalidConfig",
  advice: "correct the file"
})

/** Fails when somebody is sick, and says who. */
export const verdict = (diagnoses: ReadonlyArray<Diagnosis>): Effect.Effect<void, CommandFailed> => {
  const sick = diagnoses.filter(({ healthy }) => !healthy).map(({ server }) => server)
  return sick.length === 0
    ? Effect.void
    : Effect.fail(
        new CommandFailed({
          description: `${sick.length} of ${diagnoses.length} server${diagnoses.length === 1 ? "" : "s"} cannot be used: ${sick.join(", ")}`
        })
      )
}
