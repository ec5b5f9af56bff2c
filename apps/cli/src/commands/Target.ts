/** Which server a command is about: one that is configured, a URL, or a command with its arguments. */
import { McpConfig, type ToolFilter } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Argument from "effect/cli/Argument"
import { CommandFailed } from "../CommandFailed.ts"
import { serverOf } from "../auth/Credentials.ts"
import * as Servers from "./Servers.ts"

export type Target =
  | { readonly _tag: "Url"; readonly url: URL }
  | { readonly _tag: "Command"; readonly command: string; readonly args: ReadonlyArray<string> }
  | { readonly _tag: "Configured"; readonly server: Servers.Found }

export const ofConfigured = (server: Servers.Found): Target => ({ _tag: "Configured", server })

type Files = FileSystem.FileSystem | Path.Path

const urlOf = (text: string): URL | undefined => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url?.protocol === "http:" || url?.protocol === "https:" ? url : undefined
}

const withoutCredentials = (url: URL): Effect.Effect<URL, CommandFailed> =>
  url.username === "" && url.password === ""
    ? Effect.succeed(url)
    : Effect.fail(
        new CommandFailed({
          description: "a URL with credentials in it ends up in histories and logs: use mcp-tether login"
        })
      )

/** For commands that are about HTTP servers only. */
export const url = Argument.String("url").pipe(
  Argument.withDescription("The server's MCP endpoint, like https://example.com/mcp")
)

/** Checks a {@link url}. */
export const server = (text: string): Effect.Effect<URL, CommandFailed> => {
  const url = urlOf(text)
  return url === undefined
    ? Effect.fail(new CommandFailed({ description: `${text} is no http: or https: URL` }))
    : withoutCredentials(url)
}

/** For commands that are about any server: what is neither a name nor a URL is a command, best after `--`. */
export const operands = Argument.String("server").pipe(
  Argument.withDescription("The name of a configured server, a URL, or a command and its arguments after --"),
  Argument.variadic({ min: 1 })
)

/** The same for commands that bring a server of their own where none is named. */
export const operandsOrOwn = Argument.String("server").pipe(
  Argument.withDescription(
    "The name of a configured server, or a command and its arguments after --. Default: the server that comes with this command"
  ),
  Argument.variadic({ min: 0 })
)

/** The same for commands that are about all configured servers where none is named. */
export const optionalOperands = Argument.String("server").pipe(
  Argument.withDescription(
    "The name of a configured server, a URL, or a command and its arguments after --. Default: all that are configured"
  ),
  Argument.variadic({ min: 0 })
)

/** The configured server of a name. Where a file was named, it has to be in there. */
const configured = (name: string, asked: Servers.Asked): Effect.Effect<Target | undefined, CommandFailed, Files> =>
  Effect.gen(function* () {
    if (urlOf(name) !== undefined) return undefined
    const found = yield* Servers.read(asked)
    const server = yield* Servers.named(name, found)
    if (server !== undefined) return ofConfigured(server)
    if (Option.isNone(asked.config)) return undefined
    const names = found.servers.map(({ name }) => name).join(", ") || "none"
    return yield* new CommandFailed({ description: `${asked.config.value} has no server ${name}; it has ${names}` })
  })

/** Reads {@link operands}. */
export const parse = (
  operands: ReadonlyArray<string>,
  asked: Servers.Asked
): Effect.Effect<Target, CommandFailed, Files> =>
  Effect.gen(function* () {
    const [first, ...rest] = operands
    const known = first === undefined || rest.length > 0 ? undefined : yield* configured(first, asked)
    return known ?? (yield* plain(operands))
  })

/** A URL, or a command. */
const plain = (operands: ReadonlyArray<string>): Effect.Effect<Target, CommandFailed> =>
  Effect.gen(function* () {
    const [first, ...rest] = operands
    if (first === undefined)
      return yield* new CommandFailed({ description: "which server? Give a URL, or a command after --" })
    const url = urlOf(first)
    if (url === undefined) return { _tag: "Command", command: first, args: rest }
    if (rest.length > 0)
      return yield* new CommandFailed({ description: `what is "${rest.join(" ")}" for, after the URL?` })
    return { _tag: "Url", url: yield* withoutCredentials(url) }
  })

/** Reads a server and one more operand: `server tool`, `url tool`, and `tool -- command args…`. */
export const parseWith = (
  operands: ReadonlyArray<string>,
  name: string,
  asked: Servers.Asked
): Effect.Effect<readonly [Target, string], CommandFailed, Files> =>
  Effect.gen(function* () {
    const [first, second, ...rest] = operands
    if (first === undefined || second === undefined)
      return yield* new CommandFailed({
        description: `give a server and a ${name}: <server> <${name}>, <url> <${name}>, or <${name}> -- command args…`
      })
    const known = rest.length > 0 ? undefined : yield* configured(first, asked)
    if (known !== undefined) return [known, second]
    return urlOf(first) === undefined
      ? [yield* plain([second, ...rest]), first]
      : [yield* plain([first, ...rest]), second]
  })

/** The server's name for people, and for `mcp-tether login`. */
export const nameOf = (target: Target): string => {
  switch (target._tag) {
    case "Url":
      return serverOf(target.url)
    case "Command":
      return target.command
    case "Configured":
      return target.server.name
  }
}

/** Which of its tools are offered; `undefined`: all. */
export const filterOf = (target: Target): ToolFilter.ToolFilter | undefined =>
  target._tag === "Configured" ? McpConfig.connection(target.server).tools : undefined

/** How the server is reached: what advice and logins are about. */
export const wayOf = (
  target: Target
): { readonly _tag: "Command"; readonly command: string } | { readonly _tag: "Url"; readonly url: URL } => {
  if (target._tag !== "Configured") return target
  const { transport } = target.server
  if (transport._tag !== "stdio") return { _tag: "Url", url: new URL(Redacted.value(transport.url)) }
  const { command } = transport
  return { _tag: "Command", command: typeof command === "string" ? command : Redacted.value(command) }
}
