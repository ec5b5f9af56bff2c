/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** What is looked up inside of a report, in the browser. */
import type { Page } from "playwright-core"

/** What sticks out of the window or of the picture. */
export const overflowing = (page: Page): Promise<ReadonlyArray<string>> =>
  page.evaluate(() => {
    const wide = document.documentElement.scrollWidth > window.innerWidth ? ["the page"] : []
    const svg = document.querySelector("svg")
    const { bottom = 0, left = 0, right = 0, top = 0 } = svg?.getBoundingClientRect() ?? {}
    const out = [...(svg?.querySelectorAll("text, rect, path, circle") ?? [])].filter((element) => {
      const box = element.getBoundingClientRect()
      return box.left < left - 1 || box.right > right + 1 || box.top < top - 1 || box.bottom > bottom + 1
    })
    return [...wide, ...out.map((element) => element.outerHTML)]
  })

/** What the page says, and how many marks its picture has. */
export const shown = (page: Page) =>
  page.evaluate(() => {
    const count = (selector: string) => document.querySelectorAll(selector).length
    return {
      calls: count("svg .call"),
      answered: count("svg .answered .call"),
      replayed: count("svg .replayed .call"),
      unknown: count("svg .unknown .call"),
      failed: count("svg .failed .call"),
      kills: count("svg .kill"),
      outages: count("svg .outage"),
      states: count("svg .state"),
      rowsOfOutages: count("table.outages tbody tr"),
      rowsOfKills: count("table.kills tbody tr"),
      checks: [...document.querySelectorAll(".checks li")].map((item) => item.className),
      headline: document.querySelector("h1")?.textContent ?? "",
      picture: document.querySelector("svg desc")?.textContent ?? "",
      data: document.getElementById("run")?.textContent ?? ""
    }
  })

export const background = (page: Page): Promise<string> =>
  page.evaluate(() => getComputedStyle(document.body).backgroundColor)

export const images = (page: Page): Promise<number> => page.evaluate(() => document.images.length)
