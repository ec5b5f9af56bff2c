/** A real browser, where there is one: the Debian package `chromium`. */
import { existsSync } from "node:fs"
import { type Browser, chromium } from "playwright-core"

export const executable = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((file) =>
  existsSync(file)
)

/** Headless, with an empty profile of its own, and without a word to anybody. */
export const launch = (executablePath: string): Promise<Browser> =>
  chromium.launch({
    executablePath,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--disable-quic"
    ]
  })
