/** The timeline as an SVG: states, kills, calls by what became of them, and latency. Colours come from the page's style. */
import { text } from "./markup.ts"
import { type Call, endsSession, type Kill, type Run } from "./Run.ts"

const width = 1100
const left = 120
const right = 16
const plot = width - left - right

const stateTop = 12
const killTop = 46
const callTop = 92
const rowHeight = 22
const latencyHeight = 150

/** More marks than this are no picture any more, and a heavy page. */
const mostCalls = 4000

/** What is drawn of the calls, and how many of those that were simply answered stand for one that is drawn. */
export interface Drawn {
  readonly calls: ReadonlyArray<Call>
  readonly oneIn: number
}

/** All that is out of the ordinary, and as many of the others as there is room for. */
export const drawnOf = (calls: ReadonlyArray<Call>): Drawn => {
  const plain = (call: Call) => rowOf(call) === "answered"
  const room = Math.max(1, mostCalls - calls.filter((call) => !plain(call)).length)
  const oneIn = Math.max(1, Math.ceil(calls.filter(plain).length / room))
  let seen = 0
  return { calls: calls.filter((call) => !plain(call) || seen++ % oneIn === 0), oneIn }
}

export const rows = ["answered", "replayed", "unknown", "failed", "cut off"] as const

export type Row = (typeof rows)[number]

export const rowOf = ({ outcome, sent }: Call): Row => {
  switch (outcome) {
    case "answered":
      return sent > 1 ? "replayed" : "answered"
    case "unknown":
    case "failed":
      return outcome
    case "cutOff":
    case "pending":
      return "cut off"
  }
}

/** What stands before each row. */
const labelOf: Readonly<Record<Row, string>> = {
  answered: "answered",
  replayed: "sent again",
  unknown: "unknown",
  failed: "failed",
  "cut off": "no answer"
}

interface Scales {
  readonly x: (millis: number) => string
  readonly span: number
}

export const pictureOf = (run: Run): string => {
  const span = Math.max(1, run.elapsedMillis)
  const scales: Scales = { span, x: (millis) => (left + (Math.min(millis, span) / span) * plot).toFixed(1) }
  const drawn = drawnOf(run.calls)
  const shown = rows.filter((row) => row !== "cut off" || drawn.calls.some((call) => rowOf(call) === row))
  const latencyTop = callTop + shown.length * rowHeight + 26
  const bottom = latencyTop + latencyHeight
  return [
    `<svg class="timeline" viewBox="0 0 ${width} ${bottom + 40}" role="img" aria-labelledby="timeline-title timeline-desc">`,
    `<title id="timeline-title">Timeline of the run</title>`,
    `<desc id="timeline-desc">${text(describe(run))}</desc>`,
    axis(scales, bottom),
    outages(run, scales, bottom),
    states(run, scales),
    kills(run.kills, scales),
    ...shown.map((row, index) => lane(row, run, drawn, callTop + index * rowHeight, scales)),
    latency(drawn.calls, latencyTop, scales),
    "</svg>"
  ].join("\n")
}

const describe = ({ calls, elapsedMillis, kills, outages }: Run): string =>
  `Over ${(elapsedMillis / 1000).toFixed(1)} seconds, ${calls.length} calls, ${kills.length} kills and ${outages.length} outages. The tables below say the same in words.`

const label = (y: number, name: string, note = ""): string =>
  `<text class="label" x="${left - 10}" y="${y}" text-anchor="end">${text(name)}${note === "" ? "" : ` <tspan class="note">${note}</tspan>`}</text>`

const axis = ({ span, x }: Scales, bottom: number): string => {
  const step = stepOf(span / 1000, 10)
  const ticks = Array.from({ length: Math.floor(span / 1000 / step) + 1 }, (_, index) => index * step)
  const lines = ticks.map(
    (second) =>
      `<path class="grid" d="M${x(second * 1000)} ${stateTop}V${bottom}"/><text class="tick" x="${x(second * 1000)}" y="${bottom + 18}" text-anchor="middle">${Number(second.toFixed(3))} s</text>`
  )
  return lines.join("\n")
}

/** 1, 2 or 5 times a power of ten, so that there are at most `most` steps. */
const stepOf = (span: number, most: number): number => {
  const power = 10 ** Math.floor(Math.log10(span / most))
  return power * ([1, 2, 5, 10].find((factor) => span / (power * factor) <= most) ?? 10)
}

const outages = (run: Run, { span, x }: Scales, bottom: number): string =>
  run.outages
    .map(({ cause, lostAt, readyAt }) => {
      const to = readyAt ?? span
      const size = Math.max(1, Number(x(to)) - Number(x(lostAt))).toFixed(1)
      return `<rect class="outage" x="${x(lostAt)}" y="${stateTop}" width="${size}" height="${bottom - stateTop}"><title>down for ${Math.round(to - lostAt)} ms (${text(cause)})</title></rect>`
    })
    .join("\n")

const states = (run: Run, { span, x }: Scales): string => {
  const bars = run.states.map(({ at, generation, state }, index) => {
    const to = run.states[index + 1]?.at ?? span
    const size = Math.max(0, Number(x(to)) - Number(x(at))).toFixed(1)
    const kind = state === "Ready" ? "ready" : "down"
    // Not by colour alone: what is down is also lower.
    const [y, height] = kind === "ready" ? [stateTop, 18] : [stateTop + 10, 8]
    return `<rect class="state ${kind}" x="${x(at)}" y="${y}" width="${size}" height="${height}"><title>${text(state)}, session ${generation}, from ${(at / 1000).toFixed(2)} s</title></rect>`
  })
  return [label(stateTop + 14, "state"), ...bars].join("\n")
}

const kills = (all: ReadonlyArray<Kill>, { span, x }: Scales): string => {
  const marks = all.map((kill) => {
    const at = Number(x(kill.at))
    const y = killTop
    const end = Number(x(Math.min(span, kill.at + kill.heldMillis)))
    const held =
      kill.heldMillis === 0
        ? ""
        : `<rect class="held" x="${at.toFixed(1)}" y="${y + 16}" width="${(end - at).toFixed(1)}" height="4"/>`
    const shape = endsSession(kill.kind)
      ? `M${(at - 6).toFixed(1)} ${y}h12l-6 12z`
      : `M${(at - 4).toFixed(1)} ${y}h3v12h-3zM${(at + 1).toFixed(1)} ${y}h3v12h-3z`
    return `<g class="kill ${kill.kind}"><title>${text(`${kill.kind} at ${(kill.at / 1000).toFixed(2)} s, process group ${kill.pid}`)}</title>${held}<path d="${shape}"/></g>`
  })
  return [label(killTop + 11, "kills", String(all.length)), ...marks].join("\n")
}

const lane = (row: Row, { calls }: Run, drawn: Drawn, y: number, { x }: Scales): string => {
  const count = calls.filter((call) => rowOf(call) === row).length
  const marks = drawn.calls
    .filter((call) => rowOf(call) === row)
    .map((call) => `<path class="call" d="M${x(call.at)} ${y}v14"><title>${text(nameOf(call))}</title></path>`)
  return `<g class="row ${row.replace(" ", "-")}">${label(y + 12, labelOf[row], String(count))}\n${marks.join("\n")}</g>`
}

const nameOf = ({ at, error, number, tookMillis, what }: Call): string =>
  `${what} #${number} at ${(at / 1000).toFixed(2)} s${tookMillis === null ? "" : `, ${Math.round(tookMillis)} ms`}${error === null ? "" : `, ${error}`}`

/** Logarithmic, from a millisecond. */
const latency = (calls: ReadonlyArray<Call>, top: number, { x }: Scales): string => {
  const most = Math.max(10, ...calls.flatMap(({ tookMillis }) => tookMillis ?? []))
  const decades = Math.ceil(Math.log10(most))
  const y = (millis: number): string =>
    (top + latencyHeight - (Math.log10(Math.max(1, millis)) / decades) * latencyHeight).toFixed(1)
  const lines = Array.from({ length: decades + 1 }, (_, decade) => 10 ** decade).map((millis) => {
    const name = millis < 1000 ? `${millis} ms` : `${millis / 1000} s`
    return `<path class="grid" d="M${left} ${y(millis)}H${width - right}"/><text class="tick" x="${left - 10}" y="${Number(y(millis)) + 4}" text-anchor="end">${name}</text>`
  })
  const dots = calls.flatMap((call) =>
    call.tookMillis === null
      ? []
      : `<circle class="dot ${rowOf(call)}" cx="${x(call.at)}" cy="${y(call.tookMillis)}" r="2.5"/>`
  )
  return [
    ...lines,
    `<text class="label" x="${left}" y="${top - 8}">latency, by when the call was made (logarithmic)</text>`,
    ...dots
  ].join("\n")
}
