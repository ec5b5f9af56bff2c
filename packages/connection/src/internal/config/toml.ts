/** TOML, as Effect reads it. Where a value stands is not known, only where the syntax is broken. */
import * as Toml from "effect/encoding/Toml"
import * as Result from "effect/Result"
import type { Parsed } from "./document.ts"

export const parse = (text: string): Parsed => {
  const result = Toml.parse(text)
  if (Result.isSuccess(result))
    return { _tag: "Document", document: { root: result.success, locate: () => undefined, twice: [] } }
  // The error holds the whole text, and its message a word of it, which may be a secret: only what is known of both is passed on.
  const [, message = "", line, column] = /^([^]*) at line (\d+), column (\d+)$/.exec(result.failure.message) ?? []
  const [expected, actual] = words(message)
  return {
    _tag: "Unreadable",
    issue: {
      path: "",
      expected,
      actual,
      ...(line === undefined ? {} : { line: Number(line), column: Number(column) })
    }
  }
}

const words = (message: string): readonly [expected: string, actual: string] => {
  const redefined = /^Cannot redefine (?:existing key|table) '([^]*)'$/.exec(message)?.[1]
  if (redefined !== undefined) return [`${redefined} once`, "it a second time"]
  const character = /^Expected '(.)'$/.exec(message)?.[1]
  if (character !== undefined) return [`a ${character}`, "something else"]
  for (const [start, expected, actual] of expectations) if (message.startsWith(start)) return [expected, actual]
  return ["TOML", "something else"]
}

const expectations = [
  ["Expected a key", "a key", "something else"],
  ["Expected a value", "a value", "nothing"],
  ["Expected the end of the line", "the end of the line", "something after the value"],
  ["Invalid value", "a text in quotes, a number, true, false, [ or {", "a word without quotes"],
  ["Integer out of range", "a whole number below 2^53", "a larger one"],
  ["Invalid date-time", "a date that exists", "another one"],
  [
    "Basic strings cannot contain newlines",
    "a text that is closed with a double quote on the same line",
    "a line break"
  ],
  [
    "Literal strings cannot contain newlines",
    "a text that is closed with a single quote on the same line",
    "a line break"
  ],
  ["Unterminated basic string", "a text that is closed with a double quote", "the end of the file"],
  ["Unterminated literal string", "a text that is closed with a single quote", "the end of the file"],
  [
    "Invalid escape",
    'an escape like \\n, \\" or \\\\ (or a text in single quotes, where \\ is no escape)',
    "another one"
  ],
  ["Invalid unicode escape", "four hexadecimal digits after \\u", "something else"],
  ["Invalid multiline string continuation", "the end of the line after \\", "something else"],
  ["Invalid control character", "a text without control characters", "one"],
  ["Bare carriage return", "lines that end with \\n or \\r\\n", "a lone \\r"],
  ["Inline tables cannot end with a trailing comma", "a key after the comma", "}"]
] as const
