/** Decoding of options: every wrong one is named, with what it got and what it takes. */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { InvalidOptions } from "../InvalidOptions.ts"

const isDurationInput = (u: unknown): u is Duration.Input =>
  (Duration.isDuration(u) ||
    Predicate.isString(u) ||
    Predicate.isNumber(u) ||
    Predicate.isBigInt(u) ||
    (typeof u === "object" && u !== null)) &&
  // `fromInput` is total over its declared input; what JavaScript callers pass is checked by asking it.
  Option.isSome(Duration.fromInput(u as Duration.Input))

/** A duration option: anything `Duration.Input` takes, from nothing to infinity. */
export const DurationOption = Schema.declare(isDurationInput, {
  expected: `a duration, like "30 seconds", 500 (milliseconds) or Duration.seconds(30)`
})

/** A string that may be `Redacted`. */
export const SecretOption = Schema.Union([
  Schema.String,
  Schema.declare((u: unknown): u is Redacted.Redacted<string> => Redacted.isRedacted(u), {
    expected: "Redacted<string>"
  })
]).annotate({ expected: "a string or Redacted<string>" })

/** How long to wait: `"none"` or a duration. */
export const WaitOption = Schema.declare(
  (u: unknown): u is "none" | Duration.Input => u === "none" || isDurationInput(u),
  {
    expected: `"none" or a duration, like "30 seconds"`
  }
)

/** A duration option that must be more than nothing. */
export const SpanOption = Schema.declare(
  (u: unknown): u is Duration.Input =>
    isDurationInput(u) && Duration.isGreaterThan(Duration.fromInputUnsafe(u), Duration.zero),
  { expected: `a duration of more than nothing, like "30 seconds"` }
)

/** A count: a whole number of at least `minimum`, and at most `maximum`. */
export const CountOption = (minimum: number, maximum = Number.MAX_SAFE_INTEGER) =>
  Schema.declare(
    (u: unknown): u is number => Predicate.isNumber(u) && Number.isSafeInteger(u) && u >= minimum && u <= maximum,
    {
      expected: `a whole number of at least ${minimum}${maximum === Number.MAX_SAFE_INTEGER ? "" : ` and at most ${maximum}`}`
    }
  )

/** A value recognised by a predicate. */
export const valueOption = <A>(is: (u: unknown) => u is A, expected: string) => Schema.declare(is, { expected })

/**
 * Decodes options against a schema, reporting every wrong one and every unknown one. `secret` names the options whose values
 * are never printed.
 */
export const decode =
  <S extends Schema.Top & { readonly DecodingServices: never }>(
    schema: S,
    options: { readonly of: string; readonly secret?: ReadonlyArray<string> }
  ) =>
  (input: unknown): Effect.Effect<S["Type"], InvalidOptions> =>
    Schema.decodeUnknownEffect(schema, { errors: "all", onExcessProperty: "error" })(input).pipe(
      Effect.mapError(({ issue }) => {
        const issues = issuesOf(issue).map(({ expected, keys }) => ({
          option: keys.reduce<string>(appendKey, "") || "options",
          expected,
          actual: describe(at(input, keys), isUnknown(expected) || options.secret?.includes(String(keys[0])) === true)
        }))
        return new InvalidOptions({
          of: options.of,
          issues: Arr.isArrayNonEmpty(issues)
            ? issues
            : [{ option: "options", expected: "an object", actual: describe(input, true) }]
        })
      })
    )

/** What is wrong, where, and what belongs there, without anything of the value. */
export const issuesOf = (
  issue: SchemaIssue.Issue
): ReadonlyArray<{ readonly keys: ReadonlyArray<PropertyKey>; readonly expected: string }> =>
  formatter(issue).issues.map(({ message, path }) => ({
    keys: (path ?? []).map((segment) => (typeof segment === "object" ? segment.key : segment)),
    expected: message
  }))

const unknownOption = "no such option"

/** Nobody knows what an option that does not exist holds: perhaps a secret. */
const isUnknown = (message: string): boolean => message === unknownOption

const formatter = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => {
    switch (issue._tag) {
      case "MissingKey":
        return "a value (it is required)"
      case "UnexpectedKey":
        return unknownOption
      default:
        return expectation(SchemaIssue.defaultLeafHook(issue))
    }
  },
  checkHook: SchemaIssue.defaultCheckHook
})

/** `Schema.optional` is a union with `undefined`, which is of no interest to whoever passed something else. */
const expectation = (message: string): string => message.replace(/^Expected /, "").replace(/ \| undefined$/, "")

const appendKey = (path: string, key: PropertyKey): string =>
  typeof key === "number" ? `${path}[${key}]` : path === "" ? String(key) : `${path}.${String(key)}`

const at = (input: unknown, keys: ReadonlyArray<PropertyKey>): unknown =>
  keys.reduce<unknown>((value, key) => (Predicate.hasProperty(value, key) ? value[key] : undefined), input)

const describe = (value: unknown, secret: boolean): string => {
  if (value === undefined) return "nothing"
  if (value === null) return "null"
  if (Array.isArray(value)) return "an array"
  if (!secret && Predicate.isString(value)) return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (!secret && (Predicate.isNumber(value) || Predicate.isBoolean(value) || Predicate.isBigInt(value)))
    return String(value)
  return typeof value === "object" ? "an object" : `a ${typeof value}`
}
