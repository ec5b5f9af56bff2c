/** The tool that a request names. */
import * as Predicate from "effect/Predicate"

/** The tool's name, of a `tools/call`. */
export const toolOf = (method: string, params: unknown): string | undefined =>
  method === "tools/call" && Predicate.hasProperty(params, "name") && Predicate.isString(params.name)
    ? params.name
    : undefined
