/** The arguments of a tool, as people write them on a command line. */
import * as Effect from "effect/Effect"
import { CommandFailed } from "../CommandFailed.ts"

type Arguments = Readonly<Record<string, unknown>>

const parse = (text: string): { readonly value: unknown } | undefined => {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}

/** `--json-args`. */
export const ofJson = (text: string): Effect.Effect<Arguments, CommandFailed> => {
  const value = parse(text)?.value
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Effect.succeed(value as Arguments)
    : Effect.fail(new CommandFailed({ description: `--json-args is no JSON object: write it like '{"text":"hello"}'` }))
}

/** `--arg name=value`: a text, unless the tool's schema wants something else there. */
export const ofPairs = (
  pairs: Readonly<Record<string, string>>,
  schema: { readonly properties?: Readonly<Record<string, unknown>> | undefined }
): Effect.Effect<Arguments, CommandFailed> =>
  Effect.map(
    Effect.forEach(Object.entries(pairs), ([name, text]) => {
      if (typesOf(schema.properties?.[name]).includes("string")) return Effect.succeed([name, text] as const)
      const value = parse(text)
      return value === undefined
        ? Effect.fail(new CommandFailed({ description: `--arg ${name} wants JSON, and "${text}" is none` }))
        : Effect.succeed([name, value.value] as const)
    }),
    (entries) => Object.fromEntries(entries)
  )

/** What a property's schema allows; a schema that does not say it allows texts. */
const typesOf = (property: unknown): ReadonlyArray<string> => {
  const type =
    typeof property === "object" && property !== null && "type" in property ? (property.type as unknown) : "string"
  return (Array.isArray(type) ? type : [type]).map(String)
}
