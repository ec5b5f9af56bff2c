/** A server that is started: its command, arguments, environment and folder. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Transport } from "../../McpConfig.ts"
import type { Keys } from "./document.ts"
import type * as Entry from "./entry.ts"
import type * as Expansion from "./expansion.ts"
import type { Context, Report } from "./report.ts"
import { type Expanded, expanded, guarded, secrets } from "./values.ts"

export const stdioOf = Effect.fnUntraced(function* (
  entry: Entry.Entry,
  log: Report,
  { scope }: Context
): Effect.fn.Return<Transport | undefined> {
  if (entry.command === undefined) {
    log.issue(["command"], { expected: "a string (the program to start)", actual: "nothing" })
    return undefined
  }
  const command = yield* filled(entry.command, "command", log, scope)
  // A program in a folder may have spaces in its name; the first word of a command line mostly has no folder.
  if (entry.args === undefined && /^[^\s/\\]+\s/.test(command.text))
    log.note(["command"], "Suspicious", "it is started without a shell: arguments belong into args")
  const args = yield* Effect.forEach(entry.args ?? [], (arg, index) => expanded(arg, ["args", index], log, scope))
  const cwd = entry.cwd === undefined ? undefined : yield* filled(entry.cwd, "cwd", log, scope)
  const forwarded = yield* Effect.forEach(entry.env_vars ?? [], (variable) => forward(variable, scope))
  const env = yield* secrets(entry.env ?? {}, "env", log, scope)
  passable(command.text, ["command"], log)
  args.forEach(({ text }, index) => passable(text, ["args", index], log))
  if (cwd !== undefined) passable(cwd.text, ["cwd"], log)
  for (const [name, value] of Object.entries(env)) {
    passable(Redacted.value(value), ["env", name], log)
    if (name === "" || /[=\0]/.test(name))
      log.issue(["env", name], { expected: "the name of a variable, without =", actual: "another one" })
  }
  return {
    _tag: "stdio",
    command: fromHome(command, scope.home),
    args: args.map(guarded),
    env: { ...Object.fromEntries(forwarded.flat()), ...env },
    cwd: cwd === undefined ? undefined : fromHome(cwd, scope.home)
  }
})

/** A default may be empty where something has to be. */
const filled = Effect.fnUntraced(function* (
  value: string,
  key: "command" | "cwd",
  log: Report,
  scope: Expansion.Scope
): Effect.fn.Return<Expanded> {
  const before = log.issues.length
  const result = yield* expanded(value, [key], log, scope)
  if (log.issues.length === before && result.text.trim() === "")
    log.issue([key], { expected: "a string that is not empty", actual: "nothing, after its variables were filled in" })
  return result
})

/** What a system takes for a program. */
const passable = (text: string, keys: Keys, log: Report): void => {
  if (text.includes("\0")) log.issue(keys, { expected: "a text without NUL characters", actual: "one with them" })
}

/** A variable that is passed on is no placeholder: where it is not set, there is nothing to pass on. */
const forward = (
  variable: string | { readonly name: string },
  scope: Expansion.Scope
): Effect.Effect<ReadonlyArray<readonly [string, Redacted.Redacted<string>]>> => {
  const name = typeof variable === "string" ? variable : variable.name
  return scope.variable(name).pipe(
    Effect.map((value) => (value === undefined ? [] : [[name, Redacted.make(value)] as const])),
    Effect.orElseSucceed(() => [])
  )
}

const fromHome = (expanded: Expanded, home: string | undefined): string | Redacted.Redacted<string> =>
  home !== undefined && /^~(?=$|[\\/])/.test(expanded.text)
    ? guarded({ ...expanded, text: home + expanded.text.slice(1) })
    : guarded(expanded)
