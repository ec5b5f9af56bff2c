/** Which server a command is about: a URL, or a command with its arguments. */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import { CommandFailed } from "../CommandFailed.ts"
import { serverOf } from "../auth/Credentials.ts"

export type Target =
  | { readonly _tag: "Url"; readonly url: URL }
  | { readonly _tag: "Command"; readonly command: string; readonly args: ReadonlyArray<string> }

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

/** For commands that are about any server: what is not a URL is a command, best after `--`. */
export const operands = Argument.String("server").pipe(
  Argument.withDescription("A URL, or a command and its arguments after --"),
  Argument.variadic({ min: 1 })
)

/** For commands that bring a server of their own when none is given. */
export const optionalOperands = Argument.String("server").pipe(
  Argument.withDescription("A command and its arguments after --. Default: the server that comes with this command"),
  Argument.variadic({ min: 0 })
)

/** Reads {@link optionalOperands}; `undefined`: none is given. */
export const parseOptional = (operands: ReadonlyArray<string>): Effect.Effect<Target | undefined, CommandFailed> =>
  operands.length === 0 ? Effect.succeed(undefined) : parse(operands)

/** Reads {@link operands}. */
export const parse = (operands: ReadonlyArray<string>): Effect.Effect<Target, CommandFailed> =>
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

/** Reads a server and one more operand, in any of the two orders: `url tool`, and `tool -- command args…`. */
export const parseWith = (
  operands: ReadonlyArray<string>,
  name: string
): Effect.Effect<readonly [Target, string], CommandFailed> =>
  Effect.gen(function* () {
    const [first, second, ...rest] = operands
    if (first === undefined || second === undefined)
      return yield* new CommandFailed({
        description: `give a server and a ${name}: <url> <${name}>, or <${name}> -- command args…`
      })
    return urlOf(first) === undefined
      ? [yield* parse([second, ...rest]), first]
      : [yield* parse([first, ...rest]), second]
  })

/** The server's name for people, and for `mcp-tether login`. */
export const nameOf = (target: Target): string => (target._tag === "Url" ? serverOf(target.url) : target.command)
