/** Placeholders in a value: `${NAME}`, `${NAME:-default}`, `${env:NAME}`, and the predefined ones of editors. */
import * as Effect from "effect/Effect"

type Part =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Variable"; readonly name: string; readonly fallback: ReadonlyArray<Part> | undefined }
  | { readonly _tag: "Predefined"; readonly name: Predefined }
  | { readonly _tag: "Foreign"; readonly kind: string; readonly name: string }
  /** Something in braces that is none of these, like the `${NAME%.*}` of a shell. It stays as it is. */
  | { readonly _tag: "Odd"; readonly text: string }

const predefined = ["workspaceFolder", "workspaceFolderBasename", "userHome", "cwd", "pathSeparator", "/"] as const
type Predefined = (typeof predefined)[number]

export interface Scope {
  /** Reads an environment variable; an empty one is as good as none. */
  readonly variable: (name: string) => Effect.Effect<string | undefined, "unreadable">
  readonly workspaceFolder: string | undefined
  readonly home: string | undefined
  readonly separator: string
  /** Whether `$NAME` is a placeholder too, as it is in Gemini CLI. */
  readonly bare: boolean
}

/** Why a placeholder has no value. */
export interface Unresolved {
  readonly expected: string
  readonly actual: string
  readonly variable?: string
}

export interface Expansion {
  readonly text: string
  /** Whether there is something of the environment in it, which is kept secret. */
  readonly secret: boolean
  readonly unresolved: ReadonlyArray<Unresolved>
  /** Whether something stays as it is that looks like a placeholder. */
  readonly odd: boolean
}

export const expand = (text: string, scope: Scope): Effect.Effect<Expansion> =>
  valueOfAll(parse(text, scope.bare), scope)

const valueOfAll = (parts: ReadonlyArray<Part>, scope: Scope): Effect.Effect<Expansion> =>
  Effect.map(
    Effect.forEach(parts, (part) => valueOf(part, scope)),
    (values) => ({
      text: values.map((value) => value.text).join(""),
      secret: values.some((value) => value.secret),
      unresolved: values.flatMap((value) => value.unresolved),
      odd: values.some((value) => value.odd)
    })
  )

const plain = (text: string): Expansion => ({ text, secret: false, unresolved: [], odd: false })
const without = (unresolved: Unresolved): Expansion => ({ ...plain(""), unresolved: [unresolved] })

const valueOf = (part: Part, scope: Scope): Effect.Effect<Expansion> => {
  switch (part._tag) {
    case "Text":
      return Effect.succeed(plain(part.text))
    case "Odd":
      return Effect.succeed({ ...plain(part.text), odd: true })
    case "Variable":
      return variableOf(part.name, part.fallback, scope)
    case "Predefined":
      return Effect.succeed(predefinedOf(part.name, scope))
    case "Foreign":
      return Effect.succeed(
        without({
          expected: `a value for \${${part.kind}:${part.name}}`,
          actual: `nothing: ${part.kind === "input" ? "only VS Code asks for inputs" : "only VS Code knows it"}; write \${env:NAME} and set that variable, or the value itself`
        })
      )
  }
}

/** Names of variables are words. A long run of letters and digits is a secret that was written where its variable's name belongs. */
export const looksSecret = (name: string): boolean =>
  (name.match(/[A-Za-z0-9]{16,}/g) ?? []).some((run) => /\d/.test(run) && /[A-Za-z]/.test(run))

const missing = (name: string, actual: string): Expansion =>
  without(
    looksSecret(name)
      ? { expected: "the name of an environment variable that is set", actual: "the name of none" }
      : { expected: `the environment variable ${name}`, actual, variable: name }
  )

const variableOf = (name: string, fallback: ReadonlyArray<Part> | undefined, scope: Scope): Effect.Effect<Expansion> =>
  Effect.matchEffect(scope.variable(name), {
    onFailure: () => Effect.succeed(missing(name, "nothing: the environment could not be read")),
    onSuccess: (value) => {
      if (value !== undefined && value !== "") return Effect.succeed({ ...plain(value), secret: true })
      return fallback === undefined
        ? Effect.succeed(missing(name, `nothing: it is not set (a default is written \${${name}:-default})`))
        : valueOfAll(fallback, scope)
    }
  })

const predefinedOf = (name: Predefined, { home, separator, workspaceFolder }: Scope): Expansion => {
  switch (name) {
    case "/":
    case "pathSeparator":
      return plain(separator)
    case "userHome":
      return home === undefined
        ? without({ expected: "a home directory for ${userHome}", actual: "none" })
        : plain(home)
    case "cwd":
    case "workspaceFolder":
    case "workspaceFolderBasename": {
      if (workspaceFolder === undefined)
        return without({ expected: `a workspace folder for \${${name}}`, actual: "none" })
      return plain(name === "workspaceFolderBasename" ? (workspaceFolder.split(/[\\/]/).at(-1) ?? "") : workspaceFolder)
    }
  }
}

const parse = (text: string, bare: boolean): ReadonlyArray<Part> => {
  const parts: Array<Part> = []
  let rest = 0
  let at = text.indexOf("$")
  const push = (end: number, next: number, part?: Part): void => {
    if (end > rest) parts.push({ _tag: "Text", text: text.slice(rest, end) })
    if (part !== undefined) parts.push(part)
    rest = next
    at = text.indexOf("$", next)
  }
  while (at !== -1) {
    if (text.startsWith("$${", at)) {
      // The escape: one of the two stays, and what is in the braces is no placeholder.
      push(at, at + 3, { _tag: "Text", text: "${" })
    } else if (text.startsWith("${", at)) {
      const end = closing(text, at + 2)
      if (end === undefined) at = text.indexOf("$", at + 2)
      else push(at, end + 1, placeholder(text.slice(at + 2, end), bare))
    } else {
      const name = bare ? /^\w+/.exec(text.slice(at + 1))?.[0] : undefined
      if (name === undefined) at = text.indexOf("$", at + 1)
      else push(at, at + 1 + name.length, { _tag: "Variable", name, fallback: undefined })
    }
  }
  push(text.length, text.length)
  return parts
}

/** Where the braces close that are open at `from`. */
const closing = (text: string, from: number): number | undefined => {
  let depth = 1
  for (let at = from; at < text.length; at++) {
    if (text.startsWith("${", at)) depth++
    if (text[at] === "}" && --depth === 0) return at
  }
  return undefined
}

const placeholder = (body: string, bare: boolean): Part => {
  const name = predefined.find((name) => name === body)
  if (name !== undefined) return { _tag: "Predefined", name }
  const variable =
    /^(?<name>[A-Za-z_]\w*)(?::-(?<fallback>[^]*))?$/.exec(body) ??
    /^env:(?<name>[^:{}$\s]+)(?::-(?<fallback>[^]*))?$/.exec(body)
  if (variable?.groups !== undefined) {
    const { fallback, name = "" } = variable.groups
    return { _tag: "Variable", name, fallback: fallback === undefined ? undefined : parse(fallback, bare) }
  }
  const [, kind, rest] = /^(input|command|config):([\w.-]+)$/.exec(body) ?? []
  return kind === undefined || rest === undefined
    ? { _tag: "Odd", text: `\${${body}}` }
    : { _tag: "Foreign", kind, name: rest }
}
