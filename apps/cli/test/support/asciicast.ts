/** Recordings of terminal sessions: asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/). */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** Something that was printed (`o`), or another size of the terminal (`r`), so many seconds after the beginning. */
export type Event = readonly [at: number, code: "o" | "r", data: string]

export interface Header {
  readonly version: 2
  readonly width: number
  readonly height: number
  readonly timestamp: number
  readonly title: string
  readonly idle_time_limit: number
}

export interface Cast {
  readonly header: Header
  readonly events: ReadonlyArray<Event>
}

/** A line for a shell that takes down what comes in, and when, into a file. */
export const recorder = (file: string): string => {
  const program = fileURLToPath(new URL("./recorder.ts", import.meta.url))
  return `exec '${process.execPath}' '${program}' '${file}'`
}

/** What {@link recorder} has taken down, and when the terminal had another size (milliseconds since the epoch). */
export const compose = (
  file: string,
  resizes: ReadonlyArray<readonly [at: number, size: string]>,
  header: Omit<Header, "version" | "timestamp">
): Cast => {
  const printed = readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as readonly [at: number, data: string])
  const begin = printed[0]?.[0] ?? 0
  const event = (code: Event[1], [at, data]: readonly [number, string]): Event => [
    Math.max(0, at - begin) / 1000,
    code,
    data
  ]
  return {
    header: { version: 2, timestamp: Math.floor(begin / 1000), ...header },
    events: [...printed.map((each) => event("o", each)), ...resizes.map((each) => event("r", each))].toSorted(
      ([a], [b]) => a - b
    )
  }
}

export const print = ({ events, header }: Cast): string =>
  [header, ...events].map((line) => `${JSON.stringify(line)}\n`).join("")

/** Reads a recording, and says what is wrong with it. */
export const parse = (text: string): Cast & { readonly problems: ReadonlyArray<string> } => {
  const [header, ...events] = text
    .trimEnd()
    .split("\n")
    .map((line): unknown => JSON.parse(line))
  const { height, version, width } = header as Header
  const isSize = (value: unknown): boolean => Number.isInteger(value) && Number(value) > 0
  let last = 0
  const problems = events.flatMap((event, index) => {
    const [at, code, data] = event as Event
    const isOrdered = typeof at === "number" && at >= last
    last = at
    const isKnown = typeof data === "string" && (code === "o" || (code === "r" && /^\d+x\d+$/.test(data)))
    return isOrdered && isKnown && (event as Event).length === 3 ? [] : [`event ${index + 1}: ${JSON.stringify(event)}`]
  })
  return {
    header: header as Header,
    events: events as ReadonlyArray<Event>,
    problems: [...(version === 2 && isSize(width) && isSize(height) ? [] : ["the header"]), ...problems]
  }
}
