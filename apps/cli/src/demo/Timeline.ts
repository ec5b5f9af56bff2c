/** The demo's timeline: what is told to the person who watches, or to the program that reads. */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { styleText } from "node:util"

/** One line: where a connection stood, and what happened. */
export interface Entry {
  readonly generation: number
  readonly pid: number | undefined
  readonly state: string
  readonly event: string
  readonly text: string
}

/** What is counted over the whole demo. */
export interface Totals {
  calls: number
  answered: number
  replayed: number
  outcomeUnknown: number
  reconnects: number
  readonly downtimesMillis: Array<number>
}

interface Result {
  readonly step: number
  readonly title: string
  readonly broken: ReadonlyArray<string>
}

export class Timeline extends Context.Service<
  Timeline,
  {
    readonly totals: Totals
    readonly begin: (step: number, title: string) => Effect.Effect<void>
    /** `minor`: of use to programs only, since a person has seen it announced. */
    readonly entry: (entry: Entry, minor: boolean) => Effect.Effect<void>
    /** States what must be true. What does not hold is shown, and the demo fails in the end. */
    readonly expect: (holds: boolean, text: string) => Effect.Effect<void>
    /** Ends the demo: the table or the summary. Succeeds with whether everything went as told. */
    readonly end: Effect.Effect<boolean>
  }
>()("mcp-tether/demo/Timeline") {
  static readonly layer = (options: { readonly json: boolean; readonly headline: string }) =>
    Layer.effect(Timeline, make(options))
}

const make = Effect.fnUntraced(function* ({ headline, json }: { readonly json: boolean; readonly headline: string }) {
  const start = yield* Clock.currentTimeMillis
  const totals: Totals = { calls: 0, answered: 0, replayed: 0, outcomeUnknown: 0, reconnects: 0, downtimesMillis: [] }
  const steps: Array<{ step: number; title: string; broken: Array<string> }> = []
  const renderer = json ? asJson : asText
  const write = (lines: ReadonlyArray<string>) => Effect.forEach(lines, (line) => Console.log(line), { discard: true })
  const elapsed = Effect.map(Clock.currentTimeMillis, (now) => now - start)

  yield* write(renderer.headline(headline))
  return Timeline.of({
    totals,
    begin: (step, title) => {
      steps.push({ step, title, broken: [] })
      return write(renderer.begin(step, title))
    },
    entry: (entry, minor) => Effect.flatMap(elapsed, (at) => write(renderer.entry(at, steps.length, entry, minor))),
    expect: (holds, text) => {
      if (!holds) steps.at(-1)?.broken.push(text)
      return Effect.flatMap(elapsed, (at) => write(renderer.expect(at, steps.length, holds, text)))
    },
    end: Effect.gen(function* () {
      yield* write(renderer.end(yield* elapsed, totals, steps))
      return steps.every(({ broken }) => broken.length === 0)
    })
  })
})

interface Renderer {
  readonly headline: (text: string) => ReadonlyArray<string>
  readonly begin: (step: number, title: string) => ReadonlyArray<string>
  readonly entry: (at: number, step: number, entry: Entry, minor: boolean) => ReadonlyArray<string>
  readonly expect: (at: number, step: number, holds: boolean, text: string) => ReadonlyArray<string>
  readonly end: (at: number, totals: Totals, results: ReadonlyArray<Result>) => ReadonlyArray<string>
}

const asJson: Renderer = {
  headline: (headline) => [JSON.stringify({ headline })],
  begin: (step, title) => [JSON.stringify({ step, title })],
  entry: (atMillis, step, entry) => [JSON.stringify({ atMillis, step, ...entry })],
  expect: (atMillis, step, holds, expected) => [JSON.stringify({ atMillis, step, expected, holds })],
  end: (elapsedMillis, totals, results) => [
    JSON.stringify({
      summary: { ok: results.every(({ broken }) => broken.length === 0), elapsedMillis, ...totals, steps: results }
    })
  ]
}

/** `styleText` leaves the colour out when stdout is no terminal or `NO_COLOR` is set. */
const paint = (format: Parameters<typeof styleText>[0], text: string): string =>
  styleText(format, text, { stream: process.stdout })

const stateColour = (state: string): Parameters<typeof styleText>[0] =>
  state === "Ready" ? "green" : state === "Failed" ? "red" : "yellow"

const seconds = (millis: number): string => `${(millis / 1000).toFixed(3)} s`

const asText: Renderer = {
  headline: (headline) => [paint("bold", headline)],
  begin: (step, title) => ["", paint("bold", `${step}  ${title}`)],
  entry: (at, _step, { generation, pid, state, text }, minor) =>
    minor
      ? []
      : [
          [
            "  ",
            paint("dim", `+${seconds(at)}`.padStart(10)),
            paint("dim", `gen ${generation === 0 ? "–" : generation}`.padEnd(6)),
            paint("dim", `pid ${pid ?? "–"}`.padEnd(11)),
            paint(stateColour(state), state.padEnd(12)),
            text
          ].join("  ")
        ],
  expect: (_at, _step, holds, text) => [
    holds ? paint("green", `     ✓ ${text}`) : paint("red", `     ✗ NOT SO: ${text}`)
  ],
  end: (at, totals, results) => {
    const broken = results.filter((result) => result.broken.length > 0)
    const rows: ReadonlyArray<readonly [string, string]> = [
      ["calls", String(totals.calls)],
      ["answered", String(totals.answered)],
      ["replayed", String(totals.replayed)],
      ["outcome unknown", String(totals.outcomeUnknown)],
      ["reconnects", String(totals.reconnects)],
      ["downtime per outage", totals.downtimesMillis.map((millis) => `${millis} ms`).join(", ")]
    ]
    return [
      "",
      ...rows.map(([name, value]) => `  ${name.padEnd(20)}  ${value}`),
      "",
      broken.length === 0
        ? paint("green", `Everything went as told, in ${seconds(at)}.`)
        : paint("red", `Not as told: ${broken.map(({ step, title }) => `${step} ${title}`).join("; ")}`)
    ]
  }
}
