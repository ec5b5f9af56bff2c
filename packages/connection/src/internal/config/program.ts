/** A server that is started: its command, arguments, environment and folder. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Transport } from "../../McpConfig.ts"
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
  // A program in a folder may have spaces in its name; the first word of a command line mostly has no folder.
  if (entry.args === undefined && /^[^\s/\\]+\s/.test(entry.command))
    log.note(["command"], "Suspicious", "it is started without a shell: arguments belong into args")
  const command = yield* expanded(entry.command, ["command"], log, scope)
  const args = yield* Effect.forEach(entry.args ?? [], (arg, index) => expanded(arg, ["args", index], log, scope))
  const cwd = entry.cwd === undefined ? undefined : yield* expanded(entry.cwd, ["cwd"], log, scope)
  const forwarded = yield* Effect.forEach(entry.env_vars ?? [], (variable) => forward(variable, scope))
  const env = yield* secrets(entry.env ?? {}, "env", log, scope)
  return {
    _tag: "stdio",
    command: fromHome(command, scope.home),
    args: args.map(guarded),
    env: { ...Object.fromEntries(forwarded.flat()), ...env },
    cwd: cwd === undefined ? undefined : fromHome(cwd, scope.home)
  }
})

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
