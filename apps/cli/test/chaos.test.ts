import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { spawn } from "node:child_process"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import type { Browser, Page } from "playwright-core"
import * as Processes from "../src/chaos/processes.ts"
import { page as pageOf } from "../src/chaos/page.ts"
import { type Document, documentOf } from "../src/chaos/summary.ts"
import { run } from "../src/cli.ts"
import { good } from "./support/chaosRun.ts"
import * as Chromium from "./support/chromium.ts"
import * as InPage from "./support/inPage.ts"
import * as Running from "./support/processes.ts"
import * as Terminal from "./support/terminal.ts"

const everything = createRequire(import.meta.url).resolve("@modelcontextprotocol/server-everything/dist/index.js")

const short = ["--for", "5s", "--kill-every", "1500ms", "--timeout", "20s"]

/** What must be so in every document, whatever happened. */
const addsUp = (document: Document): void => {
  const { figures } = document
  const { answered, calls, cutOff, failed, outcomeUnknown, pending } = figures
  assert.strictEqual(calls, document.calls.length)
  assert.strictEqual(answered + outcomeUnknown + failed + cutOff + pending, calls)
  assert.strictEqual(figures.reconnects, document.outages.filter(({ readyAt }) => readyAt !== null).length)
  assert.strictEqual(
    document.holds,
    document.verdict.every(({ holds }) => holds)
  )
  const again = document.calls.reduce((sum, { sent }) => sum + Math.max(0, sent - 1), 0)
  assert.isAtMost(again, document.replays)
  for (const { at } of [...document.calls, ...document.kills, ...document.states])
    assert.isTrue(at >= 0 && at <= document.elapsedMillis + 1)
}

const scenario = (name: string, run: (terminal: Terminal.Terminal) => Effect.Effect<void>, timeout = 60_000) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(Terminal.make, run)), timeout)

describe("mcp-tether chaos", () => {
  for (const transport of ["stdio", "http"]) {
    scenario(
      `over ${transport}: every call is accounted for, and every charge is in the ledger once at most`,
      (terminal) =>
        Effect.gen(function* () {
          const { code, stderr, stdout } = yield* terminal.run(
            ["chaos", ...short, "--seed", "7", "--transport", transport, "--json"],
            { TMPDIR: terminal.state }
          )
          assert.strictEqual(code, 0, stderr + stdout.slice(0, 2000))
          const document = JSON.parse(stdout) as Document
          addsUp(document)
          assert.isTrue(document.holds)
          assert.isAbove(document.figures.answered, 10)
          assert.isAtLeast(document.figures.sessionsEnded, 1)
          assert.strictEqual(document.figures.reconnects, document.figures.sessionsEnded)
          for (const { charged, outcome, what } of document.calls) {
            assert.strictEqual(charged === null, what === "look")
            if (charged !== null) assert.isTrue(outcome === "answered" ? charged === 1 : charged <= 1)
          }
          assert.strictEqual(document.server.over, transport)
          assert.notInclude(stdout, "order ")
          assert.deepStrictEqual(Running.withText(terminal.state), [])
          assert.deepStrictEqual(
            readdirSync(terminal.state).filter((name) => name.startsWith("mcp-tether-chaos")),
            []
          )
        })
    )
  }

  scenario(
    "sees it, and exits with 1, when charges run twice: here the connection is told to send all again",
    (terminal) =>
      Effect.gen(function* () {
        const load = ["--for", "6s", "--kill-every", "900ms", "--rate", "60", "--concurrency", "30", "--seed", "9"]
        const { code, stderr, stdout } = yield* terminal.run(["chaos", ...load, "--replay", "always"])
        assert.strictEqual(code, 1, stdout)
        assert.match(stdout, /✗ \d+ charges? ran more than once: pay #\d+/)
        assert.include(stdout, "The verdict does not hold")
        assert.include(stderr, "The verdict does not hold")
      })
  )

  scenario("calls one tool of a server that nobody here wrote, and checks every answer", (terminal) =>
    Effect.gen(function* () {
      const tool = ["--tool", "echo", "--arg", "message=hello {n}", "--seed", "7"]
      const { code, stderr, stdout } = yield* terminal.run([
        "chaos",
        ...short,
        ...tool,
        "--json",
        "--",
        process.execPath,
        everything,
        "stdio"
      ])
      assert.strictEqual(code, 0, stderr + stdout.slice(0, 2000))
      const document = JSON.parse(stdout) as Document
      addsUp(document)
      assert.isTrue(
        document.calls.every(({ charged, right, what }) => charged === null && right === true && what === "echo")
      )
      assert.strictEqual(document.figures.answered, document.figures.calls)
      assert.isNull(document.figures.ledger)
      assert.strictEqual(document.figures.reconnects, document.figures.sessionsEnded)
      assert.notInclude(stdout, "hello")
    })
  )

  scenario(
    "of a configured server finds out by itself what does no harm, and says that there is no ledger",
    (terminal) =>
      Effect.gen(function* () {
        const config = path.join(terminal.state, "mcp.json")
        const server = { command: process.execPath, args: [everything, "stdio"] }
        writeFileSync(
          config,
          JSON.stringify({ mcpServers: { every: server, far: { url: "https://example.com/mcp" } } })
        )
        const named = ["chaos", ...short, "--seed", "7", "--config", config]
        const { code, stderr, stdout } = yield* terminal.run([...named, "every"])
        assert.strictEqual(code, 0, stderr + stdout)
        assert.match(stdout, /^every \(/)
        assert.match(stdout, /^calls: ping, tools\/list, resources\/list, prompts\/list/m)
        assert.include(stdout, "There is no ledger")
        assert.include(stdout, "✓ no process is left")
        assert.include(stderr, "seed 7")
        const far = yield* terminal.run([...named, "far"])
        assert.strictEqual(far.code, 1)
        assert.match(far.stderr, /only servers that it has started itself, and far is none of them/)
      })
  )

  scenario("on Ctrl-C it prints what was until then, ends within seconds, and leaves no process", (terminal) =>
    Effect.gen(function* () {
      const html = path.join(terminal.state, "report.html")
      const running = yield* terminal.start(["chaos", "--for", "10m", "--kill-every", "1s", "--json", "--html", html], {
        TMPDIR: terminal.state
      })
      yield* Effect.promise(
        () =>
          new Promise<void>((resolve, reject) => {
            running.child.stderr?.on("data", (chunk: Buffer) => {
              if (/[1-9]\d* answered/.test(chunk.toString())) resolve()
            })
            running.child.on("close", () => reject(new Error("it ended by itself")))
          })
      )
      // It may be between two servers at this very moment.
      yield* Effect.sync(() => Running.withText(`${terminal.state}/mcp-tether-chaos`).length).pipe(
        Effect.repeat({ until: (count) => count > 0, schedule: Schedule.spaced("20 millis") }),
        Effect.timeout("20 seconds"),
        Effect.orDie
      )
      const before = performance.now()
      running.child.kill("SIGINT")
      const { code, stderr, stdout } = yield* running.ended
      assert.isBelow(performance.now() - before, 10_000)
      assert.strictEqual(code, 130, stderr)
      const document = JSON.parse(stdout) as Document
      addsUp(document)
      assert.isTrue(document.interrupted)
      assert.isTrue(document.holds, JSON.stringify(document.verdict))
      assert.isAbove(document.figures.answered, 0)
      assert.deepStrictEqual(Running.withText(`${terminal.state}/mcp-tether-chaos`), [])
      assert.include(readFileSync(html, "utf8"), "as far as it went")
    })
  )

  const wrongFlags: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp]> = [
    [["--for", "soon"], /"soon" is no duration/],
    [["--rate", "0"], /--rate 0: it has to be from 0\.1 to 10000/],
    [["--concurrency", "0"], /--concurrency 0: it has to be from 1/],
    [["--kill-evry", "1s"], /--kill-evry/],
    [["https://example.com/mcp"], /chaos kills only servers that it has started itself/]
  ]
  scenario("says in a sentence what is wrong, and exits with 1", (terminal) =>
    Effect.forEach(
      wrongFlags,
      ([args, says]) =>
        Effect.map(terminal.run(["chaos", ...args]), ({ code, stderr, stdout }) => {
          assert.strictEqual(code, 1, args.join(" "))
          assert.match(stderr.replaceAll(/\s+/g, " "), says)
          assert.notInclude(stdout, "The verdict")
        }),
      { concurrency: 2, discard: true }
    )
  )

  it.live.each<readonly [string, ReadonlyArray<string>, RegExp]>([
    ["arguments without a tool", ["--arg", "a=b"], /^--arg needs a --tool/],
    ["a configuration without a name", ["--config", "mcp.json"], /^which of the configured servers\? Give its name$/],
    ["a tool without a server", ["--tool", "echo"], /^--tool needs a server/],
    [
      "a transport for a command",
      ["--transport", "http", "--", "cat"],
      /^--transport is for the server that comes with/
    ],
    ["a page that cannot be written", ["--html", "/nowhere/a.html"], /^\/nowhere\/a\.html cannot be written: NotFound/],
    ["a command that is not there", ["--", "mcp-server-evrything"], /"mcp-server-evrything" was not found/],
    [
      "a server that ends at once",
      ["--", process.execPath, "-e", "console.error('no config'); process.exit(78)"],
      /exited with code 78; stderr: no config \(and nothing has been killed yet\)/
    ],
    [
      "a tool that the server has not",
      ["--tool", "ehco", "--", process.execPath, everything, "stdio"],
      /^the server has no tool ehco; it has echo/
    ],
    [
      "a tool that fails without any kill",
      ["--tool", "echo", "--", process.execPath, everything, "stdio"],
      /^the tool echo says that it fails, before anything is killed/
    ]
  ])("refuses %s", ([, args, says]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(run(["chaos", ...args]))
      assert.strictEqual(error._tag, "CommandFailed")
      assert.match(error.message, says)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  scenario("has help with examples", (terminal) =>
    Effect.gen(function* () {
      const { code, stdout } = yield* terminal.run(["chaos", "--help"])
      assert.strictEqual(code, 0)
      assert.include(stdout, "mcp-tether chaos --html report.html")
      assert.include(stdout, "--kill-every")
    })
  )
})

describe("what is left", () => {
  it.live("is seen: a process of the group, and not when it is gone", () =>
    Effect.gen(function* () {
      const child = spawn("sleep", ["60"], { detached: true, stdio: "ignore" })
      const group = child.pid ?? 0
      const gone = new Promise((resolve) => child.on("exit", resolve))
      assert.include(yield* Processes.left([group], "500 millis"), group)
      yield* Processes.signal(group, "SIGKILL")
      yield* Effect.promise(() => gone)
      assert.notInclude(yield* Processes.left([group], "500 millis"), group)
      // Nobody is there any more, and that is no error.
      yield* Processes.signal(group, "SIGKILL")
    })
  )
})

describe("the page of chaos, in a real browser", () => {
  /** Opens a page of a file, and runs something with it. */
  const inBrowser = (
    file: string,
    use: (page: Page, browser: Browser) => Promise<void>,
    executable: string
  ): Effect.Effect<void> =>
    Effect.promise(async () => {
      const browser = await Chromium.launch(executable)
      try {
        const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
        const asked: Array<string> = []
        const complaints: Array<string> = []
        page.on("request", (request) => asked.push(request.url()))
        page.on("console", (message) => complaints.push(message.text()))
        page.on("pageerror", (error) => complaints.push(String(error)))
        const url = pathToFileURL(file).href
        await page.goto(url)
        await use(page, browser)
        assert.deepStrictEqual([asked, complaints], [[url], []])
      } finally {
        await browser.close()
      }
    })

  const drawnLike = (page: Awaited<ReturnType<typeof InPage.shown>>, document: Document): void => {
    const { figures } = document
    assert.deepStrictEqual(JSON.parse(page.data), JSON.parse(JSON.stringify(document)))
    assert.strictEqual(page.calls, document.calls.length)
    assert.strictEqual(page.answered, figures.answered - figures.replayed)
    assert.strictEqual(page.replayed, figures.replayed)
    assert.strictEqual(page.unknown, figures.outcomeUnknown)
    assert.strictEqual(page.failed, figures.failed)
    assert.strictEqual(page.kills, document.kills.length)
    assert.strictEqual(page.outages, document.outages.length)
    assert.strictEqual(page.states, document.states.length)
    assert.strictEqual(page.rowsOfOutages, document.outages.length)
    assert.strictEqual(page.rowsOfKills, document.kills.length)
    assert.deepStrictEqual(
      page.checks,
      document.verdict.map(({ holds }) => (holds ? "holds" : "broken"))
    )
  }

  it.live(
    "shows exactly what --json says, in light, in dark, on a phone and on paper",
    (context) =>
      Effect.gen(function* () {
        const { executable } = Chromium
        if (executable === undefined) return context.skip("there is no Chromium here: apt-get install chromium")
        const terminal = yield* Terminal.make
        const file = path.join(terminal.state, "report.html")
        const { code, stderr, stdout } = yield* terminal.run([
          "chaos",
          ...short,
          "--seed",
          "7",
          "--json",
          "--html",
          file
        ])
        assert.strictEqual(code, 0, stderr)
        const document = JSON.parse(stdout) as Document
        assert.isAtLeast(document.outages.length, 1)
        yield* inBrowser(
          file,
          async (page) => {
            drawnLike(await InPage.shown(page), document)
            assert.deepStrictEqual(await InPage.overflowing(page), [])
            const background = () => InPage.background(page)
            const light = await background()
            const picture = await page.screenshot({ fullPage: true })
            await page.emulateMedia({ colorScheme: "dark" })
            assert.notStrictEqual(await background(), light)
            assert.notDeepEqual(await page.screenshot({ fullPage: true }), picture)
            await page.emulateMedia({ colorScheme: "dark", media: "print" })
            assert.strictEqual(await background(), light)
            await page.emulateMedia({ colorScheme: "light", media: "screen" })
            await page.setViewportSize({ width: 360, height: 740 })
            assert.deepStrictEqual(await InPage.overflowing(page), [])
          },
          executable
        )
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "says that the verdict does not hold; and what a server says of itself stays text",
    (context) =>
      Effect.gen(function* () {
        const { executable } = Chromium
        if (executable === undefined) return context.skip("there is no Chromium here: apt-get install chromium")
        const terminal = yield* Terminal.make
        const hostile = `</script><img src=x onerror="document.title='owned'"><!--\u0007`
        const document = documentOf({
          ...good,
          server: { ...good.server, name: hostile, calls: hostile },
          calls: good.calls.map((call) => (call.number === 9 ? { ...call, what: hostile, charged: 2 } : call))
        })
        const file = path.join(terminal.state, "hostile.html")
        writeFileSync(file, pageOf(document))
        yield* inBrowser(
          file,
          async (page) => {
            const seen = await InPage.shown(page)
            drawnLike(seen, document)
            assert.strictEqual(seen.headline, "✗ The verdict does not hold: 1 of 7 are broken")
            assert.include(await page.title(), "The verdict does not hold")
            assert.strictEqual(await InPage.images(page), 0)
            assert.deepStrictEqual(await InPage.overflowing(page), [])
          },
          executable
        )
      }).pipe(Effect.scoped),
    60_000
  )
})
