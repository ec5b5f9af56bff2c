/** What is printed. */
import * as Console from "effect/Console"
import type * as Effect from "effect/Effect"

export const line = (text: string): Effect.Effect<void> => Console.log(text)

export const jsonLine = (value: unknown): Effect.Effect<void> => Console.log(JSON.stringify(value))

/** What a server says must not move the cursor or set the title of a person's terminal. */
export const plain = (text: string): string =>
  process.stdout.isTTY ? text.replaceAll(/[\p{Cc}]/gu, (char) => (char === "\n" || char === "\t" ? char : "�")) : text
