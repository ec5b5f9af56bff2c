/** What scenarios are made of: servers that are killed, calls that are bounded, and what came of them. */
import { spawn } from "node:child_process"
import type { Connected, Target } from "./adapter.ts"
import { pids, read } from "./folder.ts"
import type { Answer, Observation } from "./observation.ts"
import type { Plan } from "./plan.ts"
import { isAlive, kill } from "./processes.ts"

/** The same clock in all processes, and finer than `Date`. */
export const now = (): number => performance.timeOrigin + performance.now()

export const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds))

export const messageOf = (error: unknown): string => {
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return message.replaceAll(/\s+/g, " ").slice(0, 300)
}

/** How a call ended, and when. */
export interface Asked {
  readonly answer: Answer
  readonly n: number
  readonly at: number
  readonly error?: string
}

export interface Stage {
  readonly folder: string
  /** The file that is the server. */
  readonly server: string
  readonly plan: Plan
  readonly connect: (target: Target) => Promise<Connected>
}

let asked = 0

/** Calls a tool. Only the answer to this very call is one. */
export const ask = (client: Connected, tool: "look" | "pay", within: number): Promise<Asked> => {
  const n = ++asked
  return new Promise((resolve) => {
    const end = (answer: Answer, error?: string) => {
      clearTimeout(timer)
      resolve({ answer, n, at: now(), ...(error === undefined ? {} : { error }) })
    }
    const timer = setTimeout(end, within, "hangs", `no answer in ${within} ms`)
    // Some clients throw before they give a promise.
    Promise.resolve()
      .then(() => client.call(tool, { n }))
      .then(
        (text) => (text === `${tool} ${n}` ? end("answered") : end("failed", `a wrong answer: ${text.slice(0, 200)}`)),
        (error: unknown) => end("failed", messageOf(error))
      )
  })
}

export const stdio = ({ folder, server }: Pick<Stage, "folder" | "server">) => ({
  _tag: "stdio" as const,
  command: process.execPath,
  args: [server, folder, "stdio"]
})

/** The newest server's process. */
export const serving = (folder: string): number => {
  const up = read(folder).findLast((entry) => entry._tag === "up")
  if (up === undefined) throw new Error("no server is up")
  return up.pid
}

export interface HttpServer {
  readonly target: Target
  /** Kills it, and has another one listen on the same port after a while. Gives when that one was up. */
  readonly restart: (down: number) => Promise<number>
  readonly end: () => void
}

export const http = async ({ folder, server }: Pick<Stage, "folder" | "server">): Promise<HttpServer> => {
  const start = async (port: number) => {
    const before = read(folder).length
    spawn(process.execPath, [server, folder, "http", String(port)], { stdio: "ignore" })
    for (const begin = now(); now() - begin < 10_000; await sleep(10)) {
      const up = read(folder)
        .slice(before)
        .find((entry) => entry._tag === "up")
      if (up !== undefined) return up
    }
    throw new Error("the HTTP server did not start")
  }
  const { port = 0 } = await start(0)
  return {
    target: { _tag: "http", url: `http://127.0.0.1:${port}/mcp` },
    restart: async (down) => {
      kill(serving(folder))
      await sleep(down)
      return (await start(port)).at
    },
    end: () => kill(serving(folder))
  }
}

/**
 * Goes on calling after the first call, as a user would, until a call is answered or the time is over. `since` is when the recovery
 * begins, and what was answered before costs nothing.
 */
export const follow = async (
  { plan }: Stage,
  client: Connected,
  first: Asked,
  since: number | Promise<number>
): Promise<Observation> => {
  let last = first
  let calls = 1
  // The time begins when there is a server again that could answer.
  let end = Number.POSITIVE_INFINITY
  const counting = Promise.resolve(since).then((begin) => (end = Math.max(begin, first.at) + plan.window))
  while (last.answer !== "answered" && now() < end) {
    await sleep(plan.every)
    last = await ask(client, "look", plan.hang)
    calls += 1
  }
  const answered = last.answer === "answered"
  await counting
  const next = first.answer === "answered" ? await ask(client, "look", plan.hang) : last
  return {
    first: first.answer,
    later: next.answer === "answered",
    calls,
    lost: answered ? calls - 1 : calls,
    recovery: answered ? Math.max(0, last.at - (await since)) : undefined,
    error: first.error
  }
}

/** Closes the client, and counts the processes that are there a little later. */
export const closing = async (
  { folder, plan }: Stage,
  client: Connected
): Promise<{ readonly left: number; readonly error?: string }> => {
  const hanging = Symbol()
  const error = await Promise.race([
    Promise.resolve()
      .then(() => client.close())
      .then(
        () => undefined,
        (error: unknown) => `close: ${messageOf(error)}`
      ),
    sleep(plan.close).then(() => hanging)
  ])
  const left = () => pids(read(folder)).filter(isAlive).length
  for (const begin = now(); left() > 0 && now() - begin < 500;) await sleep(20)
  if (typeof error === "symbol") return { left: left(), error: `close has not ended after ${plan.close} ms` }
  return { left: left(), ...(error === undefined ? {} : { error }) }
}
