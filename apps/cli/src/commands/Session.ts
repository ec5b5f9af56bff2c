/** A connection for one command, with the stored login, and what its failures mean to who types commands. */
import {
  type ConnectionError,
  type InvalidOptions,
  McpConfig,
  McpConnection,
  McpTransport,
  ReconnectPolicy,
  type RequestError
} from "@mcp-tether/connection"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import packageJson from "../../package.json" with { type: "json" }
import { serverOf } from "../auth/Credentials.ts"
import * as StoredAuthProvider from "../auth/StoredAuthProvider.ts"
import type { TokenStore } from "../auth/TokenStore.ts"
import { CommandFailed } from "../CommandFailed.ts"
import * as Progress from "./Progress.ts"
import { filterOf, nameOf, type Target, wayOf } from "./Target.ts"

/** A span that people write, like "30 seconds" or `30s`. */
export const durationFlag = (name: string, description: string, byDefault: Duration.Input & string) =>
  Flag.String(name).pipe(
    Flag.withDescription(`${description}. Default: ${byDefault}`),
    Flag.withMetavar("duration"),
    Flag.withDefault(byDefault as string),
    Flag.filterMap(
      (text) =>
        Option.filter(Duration.fromInput(spelledOut(text) as Duration.Input), (span) =>
          Duration.isGreaterThan(span, Duration.zero)
        ),
      (text) => `"${text}" is no duration: write it like "30 seconds" or 30s`
    )
  )

const units: Readonly<Record<string, string>> = { ms: "millis", s: "seconds", m: "minutes", h: "hours" }

/** `30s` is "30 seconds". */
const spelledOut = (text: string): string => {
  const [, amount, unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? []
  return amount === undefined ? text : `${amount} ${units[unit]}`
}

export const json = Flag.Boolean("json").pipe(Flag.withDescription("Print JSON, for programs"), Flag.withDefault(false))

export const timeout = durationFlag(
  "timeout",
  "How long to wait for the server, and again for its answer",
  "60 seconds"
)

/** How often a server that cannot be reached is tried again: somebody is waiting at a terminal. */
const retries = 3

type AnyError = ConnectionError.ConnectionError | InvalidOptions.InvalidOptions | RequestError.RequestError

/** Runs `use` on a session with the server, and closes the connection. */
export const withSession = <A>(
  target: Target,
  timeout: Duration.Duration,
  use: (connection: McpConnection.Shape) => Effect.Effect<A, CommandFailed | RequestError.RequestError>
): Effect.Effect<A, CommandFailed, TokenStore | ChildProcessSpawner.ChildProcessSpawner> =>
  Effect.gen(function* () {
    const connection = yield* McpConnection.make({
      transport: yield* transportTo(target),
      tools: filterOf(target),
      client: { name: "mcp-tether", version: packageJson.version },
      startWithin: timeout,
      requestTimeout: timeout,
      wait: timeout,
      policy: ReconnectPolicy.bounded(retries),
      heartbeat: "off"
    })
    return yield* use(connection)
  }).pipe(
    (waiting) => Progress.during(waiting, () => `waiting for ${nameOf(target)}`),
    Effect.mapError((error) =>
      error._tag === "CommandFailed" ? error : new CommandFailed({ description: explain(target, error) })
    ),
    Effect.scoped,
    quietly
  )

/** The way to a server. Where nothing else says how to authorize, it is the stored login. */
export const transportTo = (
  target: Target
): Effect.Effect<
  McpTransport.McpTransport<ChildProcessSpawner.ChildProcessSpawner>,
  never,
  TokenStore | Scope.Scope
> => {
  if (target._tag === "Command")
    return Effect.succeed(McpTransport.stdio({ command: target.command, args: target.args }))
  if (target._tag === "Url") return withLogin(target.url, {})
  const { transport } = target.server
  return transport._tag === "stdio" || Object.keys(transport.headers).some((name) => /^authorization$/i.test(name))
    ? Effect.succeed(McpConfig.transport(target.server))
    : withLogin(new URL(Redacted.value(transport.url)), transport.headers)
}

const withLogin = (url: URL, headers: McpTransport.Headers) =>
  Effect.map(StoredAuthProvider.make(url), (authProvider) =>
    McpTransport.http<ChildProcessSpawner.ChildProcessSpawner>({ url, headers, authProvider })
  )

/** stdout belongs to the answer. The library's log lines are on stderr, when they are asked for with `--log-level`. */
export const quietly = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const asked = yield* Effect.serviceOption(GlobalFlag.LogLevel)
    const level = Option.isSome(Option.flatten(asked)) ? yield* References.MinimumLogLevel : "None"
    return yield* effect.pipe(Effect.provide(stderr), Effect.provideService(References.MinimumLogLevel, level))
  })

const stderr = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])

/** One sentence, and what to do where that is known. */
const explain = (target: Target, error: AnyError): string => {
  const reason = reasonOf(error)
  const name = nameOf(target)
  const way = wayOf(target)
  if (reason?._tag === "Unauthorized" && way._tag === "Url") {
    const scope = /\bscope="([^"]+)"/.exec(reason.challenge ?? "")?.[1]
    const login = `mcp-tether login ${serverOf(way.url)}`
    return reason.status === 403 && scope !== undefined
      ? `this needs the scope ${scope}: run ${login} --scope "${scope}"`
      : `not authorized${reason.description === undefined ? "" : ` (${reason.description})`}: run ${login}`
  }
  return reason === undefined ? error.message : `${name}: ${reason.message}`
}

const reasonOf = (error: AnyError): ConnectionError.Reason | undefined => {
  if (error._tag === "ConnectionError") return error.reason
  return error._tag === "ConnectionUnavailable" ? error.cause?.reason : undefined
}
