/** What is `Redacted` stays so, even where the server itself prints it: as it is, escaped in JSON, or in parts. */
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"

export type Conceal = (text: string) => string

/** Parts of a secret that are shorter than this are not looked for by themselves: they would be found everywhere. */
const minSecretPart = 8

/** `undefined` when nothing is secret. */
export const make = (values: ReadonlyArray<string | Redacted.Redacted<string> | undefined>): Conceal | undefined => {
  const secrets = values
    .flatMap((value) => (value === undefined || Predicate.isString(value) ? [] : [Redacted.value(value)]))
    .flatMap((secret) => [
      secret,
      JSON.stringify(secret).slice(1, -1),
      ...secret.split(/\r?\n/).filter((line) => line.length >= minSecretPart),
      // A token comes back without its scheme.
      ...secret.split(/\s+/).filter((word) => word.length >= minSecretPart)
    ])
    .filter((secret) => secret.length > 0)
    // The longest first, or a secret that begins with another would show its end.
    .toSorted((one, other) => other.length - one.length)
  return secrets.length === 0
    ? undefined
    : (text) => secrets.reduce((concealed, secret) => concealed.replaceAll(secret, "<redacted>"), text)
}
