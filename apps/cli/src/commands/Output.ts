/** What is printed. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"

export const line = (text: string): Effect.Effect<void> => Console.log(text)

export const jsonLine = (value: unknown): Effect.Effect<void> => Console.log(JSON.stringify(value))

/** Two columns: names, and the first line of what there is to say of each. */
export const table = (rows: ReadonlyArray<readonly [name: string, about: string | undefined]>): Effect.Effect<void> => {
  const width = Math.max(0, ...rows.map(([name]) => name.length))
  return Effect.forEach(
    rows,
    ([name, about = ""]) => line(plain(`${name.padEnd(width)}  ${about.split("\n", 1)[0] ?? ""}`).trimEnd()),
    { discard: true }
  )
}

/** What a server says must not move the cursor or set the title of a person's terminal. */
export const plain = (text: string): string =>
  process.stdout.isTTY ? text.replaceAll(/[\p{Cc}]/gu, (char) => (char === "\n" || char === "\t" ? char : "�")) : text

/** What anybody said, as a part of one line. */
export const oneLine = (text: string): string => text.replaceAll(/[\p{Cc}\s]+/gu, " ").trim()
