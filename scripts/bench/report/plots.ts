/** The plots of a run: Vega-Lite says what is drawn, Vega draws it as SVG, without a browser. */
import * as Vega from "vega"
import { compile, type TopLevelSpec } from "vega-lite"
import { type Curve, type Row, type Suite, type Verdict, verdict } from "../measurement.ts"

/** A file, and what is in it. */
export interface Plot {
  readonly name: string
  readonly svg: string
}

/** Colours that people who see no red or green can tell apart (Okabe and Ito). */
const colours: Readonly<Record<string, string>> = {
  tether: "#0072b2",
  raw: "#d55e00",
  bare: "#7f7f7f"
}

const nameOf: Readonly<Record<string, string>> = {
  tether: "mcp-tether",
  raw: "SDK's client",
  bare: "no client: a line splitter"
}

const config = {
  background: "white",
  font: "sans-serif",
  legend: { labelLimit: 400, symbolOpacity: 1 },
  axis: { labelFontSize: 11, titleFontSize: 11 }
}

const draw = async (spec: TopLevelSpec): Promise<string> => {
  const view = new Vega.View(Vega.parse(compile(spec).spec), { renderer: "none" })
  const svg = await view.toSVG()
  view.finalize()
  return `${svg}\n`
}

const curve = ({ points, title, x, y }: Curve, subtitle: ReadonlyArray<string>): TopLevelSpec => {
  const series = [...new Set(points.map(({ series }) => series))]
  const scale = (log: boolean) => (log ? { type: "log" as const } : { zero: false })
  const colour = {
    field: "series",
    title: null,
    sort: series.map((name) => nameOf[name] ?? name),
    scale: {
      range: series.map((name) => colours[name] ?? "#009e73"),
      domain: series.map((name) => nameOf[name] ?? name)
    }
  }
  const at = {
    field: "x",
    type: "quantitative" as const,
    title: x.title,
    scale: scale(x.log),
    axis: { format: "~s", tickCount: 6 }
  }
  return {
    config,
    title: { text: title, subtitle: [...subtitle], anchor: "start" },
    width: 520,
    height: 260,
    data: { values: points.map((point) => ({ ...point, series: nameOf[point.series] ?? point.series })) },
    layer: [
      {
        mark: { type: "area", opacity: 0.2 },
        encoding: {
          x: at,
          y: {
            field: "low",
            type: "quantitative",
            title: y.title,
            scale: scale(y.log),
            axis: { format: ",~f", tickCount: 6 }
          },
          y2: { field: "high" },
          color: colour
        }
      },
      {
        mark: { type: "line", point: true },
        encoding: { x: at, y: { field: "median", type: "quantitative" }, color: colour }
      }
    ]
  }
}

/** Where another run may decide otherwise. */
const open = "within the noise"

const openOr = (verdict: Verdict): string => (verdict.endsWith(open) ? open : verdict)

/** The ratios of a suite, each with its interval and its target. */
const ratios = (rows: ReadonlyArray<Row>, title: string, subtitle: ReadonlyArray<string>): TopLevelSpec => {
  const values = rows.map(({ compared: { estimate }, target, what }) => ({
    what,
    median: estimate.median,
    low: estimate.low,
    high: estimate.high,
    bound: target?.bound ?? null,
    verdict: target === undefined ? "no target" : openOr(verdict(estimate, target))
  }))
  const y = { field: "what", type: "nominal" as const, sort: null, title: null, axis: { labelLimit: 1_000 } }
  const colour = {
    field: "verdict",
    title: null,
    scale: { domain: ["reached", "missed", open, "no target"], range: ["#0072b2", "#d55e00", "#e69f00", "#7f7f7f"] }
  }
  const scale = { type: "log" as const }
  return {
    config,
    title: { text: title, subtitle: [...subtitle], anchor: "start" },
    width: 420,
    height: { step: 20 },
    data: { values },
    layer: [
      { mark: { type: "rule", color: "#bbbbbb" }, encoding: { x: { datum: 1, type: "quantitative", scale } } },
      {
        mark: { type: "rule", strokeWidth: 2 },
        encoding: {
          y,
          x: { field: "low", type: "quantitative", scale, title: "ratio, with its 95 % interval; |: the target" },
          x2: { field: "high" },
          color: colour
        }
      },
      {
        mark: { type: "point", filled: true, size: 50, opacity: 1 },
        encoding: { y, x: { field: "median", type: "quantitative" }, color: colour }
      },
      {
        transform: [{ filter: "datum.bound !== null" }],
        mark: { type: "tick", color: "black", thickness: 2, size: 14 },
        encoding: { y, x: { field: "bound", type: "quantitative" } }
      }
    ]
  }
}

/** All plots of a suite: its ratios in one, and each of its curves. */
export const plots = async (
  { about, curves = [], rows, suite }: Suite,
  subtitle: ReadonlyArray<string>
): Promise<Array<Plot>> => {
  const measured = rows.filter(({ compared: { estimate, how } }) => how === "×" && estimate.rounds > 0)
  const specs = [
    ...(measured.length === 0 ? [] : [{ name: suite, spec: ratios(measured, suite, [about, ...subtitle]) }]),
    ...curves.map((one) => ({ name: one.name, spec: curve(one, subtitle) }))
  ]
  return Promise.all(specs.map(async ({ name, spec }) => ({ name, svg: await draw(spec) })))
}
