/**
 * The servers of the interop matrix, as data: how each is reached, started and killed, what it speaks, and with which calls of
 * its own it does what the matrix asks of every server.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import type { Rig } from "../driver/rig.ts"

/** Where one test keeps its files, and the environment of all its processes. */
export interface Place {
  readonly dir: string
  readonly env: Readonly<Record<string, string>>
}

export const placeOf = (rig: Rig): Place => ({ dir: rig.dir, env: (rig.stdio().env ?? {}) as Place["env"] })

/** A program to run: over stdio by the transport, over HTTP by {@link Reached.start}. */
export interface Program {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
}

/** A server that has a port of its own until the scope closes. */
export interface Running {
  readonly url: string
  /** The process that runs now, or ran last. */
  readonly pid: () => number
  /** SIGKILL; it is done when the process is gone, and nobody listens any more. */
  readonly kill: Effect.Effect<void>
  /** Kills it if it is alive, starts it again on the same port, and is done when it listens. */
  readonly restart: Effect.Effect<void>
}

/** How a server is reached. */
export type Reached =
  | { readonly kind: "stdio"; readonly program: (place: Place) => Program }
  | {
      readonly kind: "streamableHttp" | "sse"
      readonly start: (place: Place) => Effect.Effect<Running, never, Scope.Scope>
    }

export type Era = "legacy" | "modern"

/** The version that is negotiated in each era. */
export const versions: { readonly [E in Era]: string } = { legacy: "2025-11-25", modern: "2026-07-28" }

export interface Call {
  readonly name: string
  readonly arguments: Readonly<Record<string, unknown>>
}

/** One row of the matrix. */
export type Server = Reached & {
  readonly name: string
  /** The eras it speaks. A client that can choose gets the modern one if it is there; over stdio the library asks for legacy first. */
  readonly speaks: readonly [Era, ...ReadonlyArray<Era>]
  /** A read-only tool that answers at once, with this text. */
  readonly echo: Call & { readonly answer: string }
  /**
   * A read-only tool to be killed under, with what its answer begins with, and how one knows that the call is under way.
   * `journal`: the server writes a line into it. `progress`: it tells progress. `frozen`: the tool is too fast; the server must
   * be stopped before the call, and never runs it.
   */
  readonly slow: Call & { readonly answer: string; readonly begins: "journal" | "progress" | "frozen" }
  /**
   * A tool that promises nothing, and how often it had its effect: seen on disk, or told by the server. `effect`: the call is
   * under way when it had its effect, and answers long after. `frozen`: as above.
   */
  readonly count: Call & { readonly begins: "effect" | "frozen"; readonly effects: Effects }
  /** The call that makes a list longer, which the server announces. Absent: there is none, or it cannot announce it. */
  readonly add?: Addition
  /** A resource to subscribe to, and the call after which the server tells of an update. Absent: it cannot. */
  readonly subscription?: { readonly uri: string; readonly touch: Call }
}

export type Effects =
  | { readonly seen: (place: Place) => number }
  | { readonly told: Call; readonly number: (answer: string) => number }

export type Addition = Call & {
  readonly list: "tools" | "resources"
  readonly added: string
  /** Who hears of it: who listens, or only who has a request of its own open, as the caller has. */
  readonly announcedTo: "listeners" | "callers"
}

/** What the slow calls of our own fixtures have written. */
export const journal = ({ dir }: Place): ReadonlyArray<string> => linesOf(join(dir, "journal"))

const linesOf = (path: string): ReadonlyArray<string> =>
  existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : []

// -- Our own programs on the official SDKs, and on Effect's server: test/fixtures/interop

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/interop/${name}`, import.meta.url))

const books = ({ dir, env }: Place) => ({ ...env, LEDGER: join(dir, "ledger"), JOURNAL: join(dir, "journal") })

const fixtureStdio = (name: string, ...args: ReadonlyArray<string>): Reached => ({
  kind: "stdio",
  program: (place) => ({
    command: process.execPath,
    args: [fixture(name), "--stdio", ...args],
    env: books(place)
  })
})

const fixtureHttp = (name: string, ...args: ReadonlyArray<string>): Reached => ({
  kind: "streamableHttp",
  start: (place) =>
    start((port) => ({
      command: process.execPath,
      args: [fixture(name), "--port", String(port), ...args],
      env: books(place),
      listens: (line) => line.startsWith(`{"url":`),
      path: "/mcp"
    }))
})

/** What all of them offer. */
const offer = {
  echo: { name: "echo", arguments: { text: "hello" }, answer: "hello" },
  slow: { name: "slow", arguments: { ms: 1000 }, answer: "slept", begins: "journal" },
  count: {
    name: "count",
    arguments: { id: "one", ms: 20_000 },
    begins: "effect",
    effects: { seen: ({ dir }: Place) => linesOf(join(dir, "ledger")).length }
  }
} as const

const add: Addition = {
  name: "addTool",
  arguments: { name: "late" },
  list: "tools",
  added: "late",
  announcedTo: "listeners"
}

const subscription = { uri: "test://counter", touch: { name: "touch", arguments: {} } }

/** Effect's server puts a modern result into JSON, beside the same as structured content. */
const inJson = {
  echo: { ...offer.echo, answer: `"hello"` },
  slow: { ...offer.slow, answer: `"slept"` }
}

const fixtures: ReadonlyArray<Server> = [
  { name: "SDK v1, stateful, HTTP", speaks: ["legacy"], ...fixtureHttp("v1.ts"), ...offer, add, subscription },
  { name: "SDK v1, stateless, HTTP", speaks: ["legacy"], ...fixtureHttp("v1.ts", "--stateless"), ...offer },
  { name: "SDK v2, legacy, HTTP", speaks: ["legacy"], ...fixtureHttp("v2.ts"), ...offer, add, subscription },
  { name: "SDK v2, legacy, stdio", speaks: ["legacy"], ...fixtureStdio("v2.ts"), ...offer, add, subscription },
  {
    name: "SDK v2, modern, HTTP",
    speaks: ["modern"],
    ...fixtureHttp("v2.ts", "--era", "modern"),
    ...offer,
    add,
    subscription
  },
  {
    name: "SDK v2, modern, stdio",
    speaks: ["modern"],
    ...fixtureStdio("v2.ts", "--era", "modern"),
    ...offer,
    add,
    subscription
  },
  {
    // `add` and `subscription`: to modern clients. Legacy ones are served stateless.
    name: "SDK v2, both, HTTP",
    speaks: ["modern", "legacy"],
    ...fixtureHttp("v2.ts", "--era", "both"),
    ...offer,
    add,
    subscription
  },
  {
    // No GET stream: no subscription, and a change is told on the streams of the requests that are open.
    name: "Effect, legacy, HTTP",
    speaks: ["legacy"],
    ...fixtureHttp("effect.ts"),
    ...offer,
    add: { ...add, announcedTo: "callers" }
  },
  { name: "Effect, legacy, stdio", speaks: ["legacy"], ...fixtureStdio("effect.ts"), ...offer, add, subscription },
  {
    name: "Effect, modern, HTTP",
    speaks: ["modern"],
    ...fixtureHttp("effect.ts", "--era", "modern"),
    ...offer,
    ...inJson,
    add,
    subscription
  },
  {
    name: "Effect, modern, stdio",
    speaks: ["modern"],
    ...fixtureStdio("effect.ts", "--era", "modern"),
    ...offer,
    ...inJson,
    add,
    subscription
  }
]

// -- Servers that nobody here wrote. They speak legacy.

/** A program of somebody else's, that ends as ours do. */
const bounded = (specifier: string): ReadonlyArray<string> => [
  "--import",
  new URL("../fixtures/interop/bounded.ts", import.meta.url).href,
  fileURLToPath(import.meta.resolve(specifier))
]

const everything = bounded("@modelcontextprotocol/server-everything/dist/index.js")

const everythingHttp = (kind: "streamableHttp" | "sse"): Reached => ({
  kind,
  start: ({ env }) =>
    start((port) => ({
      command: process.execPath,
      args: [...everything, kind],
      env: { ...env, PORT: String(port) },
      listens: (line) => line.endsWith(`port ${port}`),
      path: kind === "sse" ? "/sse" : "/mcp"
    }))
})

const everythingOffer = {
  speaks: ["legacy"],
  echo: { name: "echo", arguments: { message: "hello" }, answer: "Echo: hello" },
  slow: {
    name: "trigger-long-running-operation",
    arguments: { duration: 1, steps: 4 },
    answer: "Long running operation completed",
    begins: "progress"
  },
  count: {
    name: "toggle-simulated-logging",
    arguments: {},
    begins: "frozen",
    // The next toggle tells whether there was one before it.
    effects: {
      told: { name: "toggle-simulated-logging", arguments: {} },
      number: (answer: string) => (answer.startsWith("Started") ? 0 : 1)
    }
  },
  add: {
    name: "gzip-file-as-resource",
    arguments: { name: "late.gz", data: "data:text/plain,late" },
    list: "resources",
    added: "demo://resource/session/late.gz",
    announcedTo: "listeners"
  },
  subscription: {
    uri: "demo://resource/dynamic/text/7",
    touch: { name: "toggle-subscriber-updates", arguments: {} }
  }
} as const

const others: ReadonlyArray<Server> = [
  {
    name: "everything, stdio",
    kind: "stdio",
    program: ({ env }) => ({ command: process.execPath, args: [...everything, "stdio"], env }),
    ...everythingOffer
  },
  { name: "everything, HTTP", ...everythingHttp("streamableHttp"), ...everythingOffer },
  { name: "everything, SSE", ...everythingHttp("sse"), ...everythingOffer },
  {
    name: "filesystem, stdio",
    speaks: ["legacy"],
    kind: "stdio",
    program: ({ dir, env }) => {
      // Paths in its calls are relative to the directory that it may touch. What an earlier process left stays as it is.
      for (const [name, text] of Object.entries({ "hello.txt": "hello", "ledger.txt": "end\n" }))
        if (!existsSync(join(dir, name))) writeFileSync(join(dir, name), text)
      return {
        command: process.execPath,
        args: [...bounded("@modelcontextprotocol/server-filesystem/dist/index.js"), dir],
        env
      }
    },
    echo: { name: "read_text_file", arguments: { path: "hello.txt" }, answer: "hello" },
    slow: { name: "read_text_file", arguments: { path: "hello.txt" }, answer: "hello", begins: "frozen" },
    count: {
      name: "edit_file",
      arguments: { path: "ledger.txt", edits: [{ oldText: "end", newText: "one\nend" }] },
      begins: "frozen",
      effects: { seen: ({ dir }) => linesOf(join(dir, "ledger.txt")).filter((line) => line === "one").length }
    }
  },
  {
    name: "memory, stdio",
    speaks: ["legacy"],
    kind: "stdio",
    program: ({ dir, env }) => ({
      command: process.execPath,
      args: bounded("@modelcontextprotocol/server-memory/dist/index.js"),
      env: { ...env, MEMORY_FILE_PATH: join(dir, "memory.jsonl") }
    }),
    echo: { name: "open_nodes", arguments: { names: [] }, answer: `{\n  "entities": [],\n  "relations": []\n}` },
    slow: { name: "read_graph", arguments: {}, answer: "{", begins: "frozen" },
    count: {
      name: "create_entities",
      arguments: { entities: [{ name: "one", entityType: "test", observations: [] }] },
      begins: "frozen",
      effects: {
        seen: ({ dir }) => {
          const file = join(dir, "memory.jsonl")
          return existsSync(file) ? readFileSync(file, "utf8").split(`"one"`).length - 1 : 0
        }
      }
    },
    subscription: {
      uri: "memory://knowledge-graph",
      touch: {
        name: "create_entities",
        arguments: { entities: [{ name: "touched", entityType: "test", observations: [] }] }
      }
    }
  }
]

/** All rows. */
export const servers: ReadonlyArray<Server> = [...others, ...fixtures]

// -- Processes that serve on a port

/** A program, how one sees that it listens, and the path of its endpoint. */
interface HttpProgram extends Program {
  /** Of a line of its stdout or stderr. */
  readonly listens: (line: string) => boolean
  readonly path: string
}

const start = Effect.fnUntraced(function* (program: (port: number) => HttpProgram) {
  const port = yield* Effect.promise(freePort)
  const { args, command, env, listens, path } = program(port)
  let current: ChildProcess | undefined
  const kill = Effect.promise(async () => {
    if (current === undefined || hasEnded(current)) return
    current.kill("SIGKILL")
    await once(current, "close")
  })
  const begin = Effect.promise(async () => {
    current = spawn(command, args, { env, stdio: ["pipe", "pipe", "pipe"] })
    await listening(current, listens)
  })
  yield* Effect.addFinalizer(() => kill)
  yield* begin
  return {
    url: `http://127.0.0.1:${port}${path}`,
    pid: () => current?.pid ?? 0,
    kill,
    restart: Effect.andThen(kill, begin)
  }
})

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null

/** Waits for the line; what else it writes is let go, so that it never waits for us. */
const listening = (child: ChildProcess, listens: (line: string) => boolean): Promise<void> =>
  new Promise((resolve, reject) => {
    const lines: Array<string> = []
    for (const output of [child.stdout, child.stderr] as ReadonlyArray<Readable>) {
      createInterface(output).on("line", (line) => {
        lines.push(line)
        if (listens(line)) resolve()
      })
    }
    child.once("error", reject)
    child.once("close", () => reject(new Error(`it ended before it listened:\n${lines.join("\n")}`)))
  })

/**
 * A port that no other worker takes, below those that the system gives away by itself: one of these could be taken as a
 * connection's own while the server is down, or a connection to it could meet itself.
 */
const freePort = async (): Promise<number> => {
  while (true) {
    const port = 20_000 + (process.pid % 200) * 60 + (taken++ % 60)
    const probe = createServer()
    const free = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false))
      probe.listen(port, () => resolve(true))
    })
    if (free) {
      probe.close()
      await once(probe, "close")
      return port
    }
  }
}

let taken = 0
