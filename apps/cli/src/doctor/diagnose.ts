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
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import packageJson from "../../package.json" with { type: "json" }
import * as Advice from "./advice.ts"

/** A server, and how it is reached. */
export interface Patient<R> {
  readonly name: string
  readonly way: Advice.Way
  readonly transport: McpTransport.McpTransport<R>
}

/** What was found. Times are in milliseconds. */
export type Diagnosis =
  | {
      readonly server: string
      readonly healthy: true
      readonly name: string
      readonly version: string
      readonly era: "legacy" | "modern"
      readonly protocolVersion: string
      readonly handshakeMillis: number
      readonly pingMillis: number
      readonly tools: number
    }
  | {
      readonly server: string
      readonly healthy: false
      readonly problem: string
      readonly reason: string
      readonly advice: string
      /** The last of what the server wrote to stderr. */
      readonly stderr?: string
    }

type AnyError = ConnectionError.ConnectionError | InvalidOptions.InvalidOptions | RequestError.RequestError

export const diagnose = <R>(
  { name, transport, way }: Patient<R>,
  timeout: Duration.Duration
): Effect.Effect<Diagnosis, never, R> =>
  Effect.gen(function* () {
    const begin = yield* Clock.currentTimeMillis
    const connection = yield* McpConnection.make<R>({
      name,
      transport,
      client: { name: "mcp-tether", version: packageJson.version },
      startWithin: timeout,
      startupTimeout: timeout,
      requestTimeout: timeout,
      wait: timeout,
      // What is wrong shall be seen, not healed.
      policy: ReconnectPolicy.bounded(0),
      heartbeat: "off"
    })
    const ready = yield* Clock.currentTimeMillis
    yield* connection.ping()
    const answered = yield* Clock.currentTimeMillis
    const { server } = yield* connection.awaitReady
    const tools = server.capabilities.tools === undefined ? [] : yield* connection.listTools()
    return {
      server: name,
      healthy: true as const,
      name: server.name,
      version: server.version,
      era: server.era,
      protocolVersion: server.protocolVersion,
      handshakeMillis: ready - begin,
      pingMillis: answered - ready,
      tools: tools.length
    }
  }).pipe(
    Effect.scoped,
    Effect.catch((error) => Effect.succeed(sick(name, way, error)))
  )

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
