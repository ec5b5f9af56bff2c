/** The values of an entry: expanded, with what is secret put away. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Keys } from "./document.ts"
import * as Expansion from "./expansion.ts"
import type { Report } from "./report.ts"

export interface Expanded {
  readonly text: string
  readonly secret: boolean
}

/** What comes from the environment is secret; what is written in the file, outside of `env` and headers, is not. */
export const guarded = ({ secret, text }: Expanded): string | Redacted.Redacted<string> =>
  secret ? Redacted.make(text) : text

export const expanded = Effect.fnUntraced(function* (
  value: string | number | boolean,
  keys: Keys,
  log: Report,
  scope: Expansion.Scope
): Effect.fn.Return<Expanded> {
  if (typeof value !== "string") log.note(keys, "Converted", `a ${typeof value}, which is passed as a text`)
  const text = String(value)
  const expansion = yield* Expansion.expand(text, scope)
  for (const unresolved of expansion.unresolved) log.issue(keys, unresolved)
  // What it holds is not said: it may be a secret that only looks like this.
  if (expansion.odd) log.note(keys, "Suspicious", "there is something in ${…} that is no variable, and stays as it is")
  if (!scope.bare && /^\$[A-Za-z_]\w*$/.test(text))
    log.note(keys, "Suspicious", "it is passed as it is: a variable is written ${NAME}, with braces")
  return expansion
})

export const secrets = Effect.fnUntraced(function* (
  values: Readonly<Record<string, string | number | boolean | null>>,
  key: string,
  log: Report,
  scope: Expansion.Scope
): Effect.fn.Return<Readonly<Record<string, Redacted.Redacted<string>>>> {
  const entries = yield* Effect.forEach(Object.entries(values), ([name, value]) =>
    value === null
      ? Effect.succeed([])
      : Effect.map(expanded(value, [key, name], log, scope), ({ text }) => [[name, Redacted.make(text)] as const])
  )
  return Object.fromEntries(entries.flat())
})
