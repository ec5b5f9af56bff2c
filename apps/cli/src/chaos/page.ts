/** The report as one page that needs nothing else: no network, no script. Its data is in it as JSON. */
import { embedded, text } from "./markup.ts"
import { drawnOf, pictureOf } from "./picture.ts"
import { style } from "./style.ts"
import { caveatOf, type Document, headlineOf, millis, rowsOf, titleOf } from "./summary.ts"

export const page = (document: Document): string => {
  const headline = headlineOf(document)
  const caveat = caveatOf(document)
  return [
    "<!doctype html>",
    `<html lang="en">`,
    "<head>",
    `<meta charset="utf-8">`,
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    `<meta name="viewport" content="width=device-width, initial-scale=1">`,
    `<meta name="color-scheme" content="light dark">`,
    `<title>${text(headline)} – mcp-tether chaos</title>`,
    `<style>${style}</style>`,
    "</head>",
    "<body>",
    "<main>",
    "<header>",
    `<p class="kicker">mcp-tether chaos</p>`,
    `<h1 class="${document.holds ? "holds" : "broken"}">${document.holds ? "✓" : "✗"} ${text(headline)}</h1>`,
    `<p>${text(titleOf(document))}</p>`,
    `<p class="quiet">Called: ${text(document.server.calls)}.</p>`,
    "</header>",
    `<section aria-labelledby="verdict"><h2 id="verdict">Verdict</h2><ul class="checks">`,
    ...document.verdict.map(
      ({ holds, text: said }) =>
        `<li class="${holds ? "holds" : "broken"}"><span>${holds ? "✓" : "✗"}</span> ${text(said)}</li>`
    ),
    "</ul>",
    ...(caveat === undefined ? [] : [`<p class="quiet">${text(caveat)}</p>`]),
    "</section>",
    `<section aria-labelledby="timeline"><h2 id="timeline">Timeline</h2>`,
    `<figure><div class="scroll" tabindex="0" role="group" aria-label="Timeline">${pictureOf(document)}</div>`,
    `<figcaption>${legend(document)}</figcaption></figure></section>`,
    `<section aria-labelledby="figures"><h2 id="figures">Figures</h2>`,
    table("figures", [], rowsOf(document)),
    "</section>",
    `<section aria-labelledby="outages"><h2 id="outages">Outages</h2>`,
    table(
      "outages",
      ["lost at", "because of", "attempts", "down for"],
      document.outages.map(({ attempts, cause, lostAt, readyAt }) => [
        seconds(lostAt),
        cause,
        String(attempts),
        readyAt === null ? "not back" : millis(readyAt - lostAt)
      ])
    ),
    "</section>",
    `<section aria-labelledby="kills"><h2 id="kills">Kills</h2>`,
    table(
      "kills",
      ["at", "what", "process group", "stopped for", "the next session"],
      document.kills.map(({ at, healedAt, heldMillis, kind, pid }) => [
        seconds(at),
        whatOf[kind],
        String(pid),
        heldMillis === 0 ? "–" : millis(heldMillis),
        kind === "freeze" ? "not needed" : healedAt === null ? "none" : `after ${millis(healedAt - at)}`
      ])
    ),
    "</section>",
    "</main>",
    `<script type="application/json" id="run">${embedded(document)}</script>`,
    "</body>",
    "</html>\n"
  ].join("\n")
}

const whatOf = {
  kill: "SIGKILL",
  terminate: "SIGTERM",
  hang: "SIGSTOP, then SIGKILL",
  freeze: "SIGSTOP, then SIGCONT"
} as const

const seconds = (at: number): string => `${(at / 1000).toFixed(2)} s`

const legend = ({ calls }: Document): string => {
  const { oneIn } = drawnOf(calls)
  const thinned =
    oneIn === 1 ? "" : ` Of the calls that were simply answered, every ${oneIn}th is drawn; all others are drawn.`
  return `Shaded: the connection had no session. ▼ ended the session; ❚❚ stopped the server for a while, which a bar shows. A stroke in a row is a call, where it was made; a dot below is how long it took.${thinned}`
}

const table = (name: string, head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  if (rows.length === 0) return `<p class="quiet">None.</p>`
  const header =
    head.length === 0
      ? ""
      : `<thead><tr>${head.map((cell) => `<th scope="col">${text(cell)}</th>`).join("")}</tr></thead>`
  const body = rows.map(
    ([first = "", ...rest]) =>
      `<tr><th scope="row">${text(first)}</th>${rest.map((cell) => `<td>${text(cell)}</td>`).join("")}</tr>`
  )
  return `<div class="scroll"><table class="${name}">${header}<tbody>${body.join("\n")}</tbody></table></div>`
}
