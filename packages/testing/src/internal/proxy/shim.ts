/**
 * The process between a client and its server: a program of its own. It hands on line by line, and asks its director about each message.
 *
 * It ends with its server, with its stdin, and with its director; the server never outlives it.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { connect, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { onLine } from "./lines.ts"
import { parse, requestIn } from "./message.ts"
import { addressVariable, type Order, type ReplyFate, type Report, type Verdict } from "./protocol.ts"

const [, , command = "", ...args] = process.argv
const { [addressVariable]: address = "", ...env } = process.env
const [port = "", token = ""] = address.split(" ")

let server: ChildProcess | undefined = undefined
let isSevered = false
let asked = 0
/** Who waits for a word about a message. */
const waiting = new Map<number, (verdict: Verdict) => void>()
/** What becomes of the replies to the requests that are on their way. */
const fates = new Map<string | number, ReplyFate>()

/** The server first, so that it does not outlive this process. */
const crash = (): void => {
  server?.kill("SIGKILL")
  process.kill(process.pid, "SIGKILL")
}

/** The moment of a crash has come: the director knows for how long nothing can be started then. */
const moment = (): void => tell({ _tag: "Moment" })

/** In milliseconds: how long whoever was handed something has to read it. */
const reading = 50

const leave = (code: number): void => {
  server?.kill("SIGKILL")
  process.exit(code)
}

const director: Socket = connect(Number(port), "127.0.0.1")
director.on("error", () => leave(1))
director.on("close", () => leave(1))
const tell = (report: Report): void => {
  director.write(`${JSON.stringify(report)}\n`)
}
const ask = (report: (number: number) => Report): Promise<Verdict> =>
  new Promise((resolve) => {
    asked += 1
    waiting.set(asked, resolve)
    tell(report(asked))
  })

const follow = (order: Order): void => {
  switch (order._tag) {
    case "Refuse":
      leave(1)
      return
    case "Start":
      start()
      return
    case "Crash":
      crash()
      return
    case "Freeze":
      server?.kill("SIGSTOP")
      setTimeout(() => server?.kill("SIGCONT"), order.forMillis)
      return
    case "Sever":
      isSevered = true
      return
    case "Noise":
      for (let line = 1; line <= order.lines; line += 1) process.stdout.write(`noise ${line}: no message\n`)
      return
    case "Pass": {
      const resolve = waiting.get(order.number)
      waiting.delete(order.number)
      resolve?.(order)
    }
  }
}

onLine(director, (line) => follow(parse(line) as Order))
tell({ _tag: "Hello", token })

/** What is done to a line that has arrived. */
type Arrival = () => void | Promise<void>

/** Hands on what the client sends. */
const toServer = async (line: string): Promise<Arrival> => {
  const message = requestIn(parse(line))
  if (message === undefined) {
    // An answer to the server's own question.
    return () => {
      if (!isSevered) server?.stdin?.write(`${line}\n`)
    }
  }
  const { id, method, tool } = message
  const verdict = await ask((number) => ({ _tag: "Message", number, method, tool, isRequest: id !== undefined }))
  if (verdict.waitMillis > 0) await sleep(verdict.waitMillis)
  return () => {
    if (isSevered) return
    // What died with the request in its hands does not answer it.
    const drop = verdict.crash === "afterReceiving" || verdict.reply?.drop === true
    if (id !== undefined && verdict.reply !== undefined) fates.set(id, { ...verdict.reply, drop })
    for (let time = 0; time < verdict.times; time += 1) server?.stdin?.write(`${line}\n`)
    // When the server has had time to read it.
    if (verdict.crash === "afterReceiving") setTimeout(moment, reading)
  }
}

/** Hands on what the server says. */
const toClient = async (line: string): Promise<Arrival> => {
  const { waitMillis } = await ask((number) => ({ _tag: "Reply", number }))
  if (waitMillis > 0) await sleep(waitMillis)
  return async () => {
    if (isSevered) return
    const id = replyIdIn(parse(line))
    const fate = id === undefined ? undefined : fates.get(id)
    if (id !== undefined) fates.delete(id)
    if (fate?.crash === "afterEffect") {
      moment()
      return
    }
    if (fate?.drop === true) return
    const text = fate?.corrupt === true ? line.slice(0, line.length / 2) : line
    const written = new Promise<void>((resolve) => process.stdout.write(`${text}\n`, () => resolve()))
    if (fate?.duplicate === true) process.stdout.write(`${text}\n`)
    await written
    if (fate?.crash === "afterReplying") setTimeout(moment, reading)
  }
}

const replyIdIn = (value: unknown): string | number | undefined => {
  if (typeof value !== "object" || value === null || !("id" in value) || "method" in value) return undefined
  return typeof value.id === "string" || typeof value.id === "number" ? value.id : undefined
}

/** They are on their way together, and arrive in the order in which they came. */
const inTurn = (travel: (line: string) => Promise<Arrival>): ((line: string) => void) => {
  let turn = Promise.resolve()
  return (line) => {
    const travelled = travel(line)
    turn = turn.then(async () => (await travelled)())
  }
}

const start = (): void => {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], env })
  server = child
  child.on("error", (error) => {
    process.stderr.write(`${error.message}\n`)
    leave(127)
  })
  child.on("exit", (code, signal) => {
    // As it ended, so does this process.
    if (signal !== null) process.kill(process.pid, signal)
    else process.exit(code ?? 1)
  })
  child.stdin.on("error", () => {})
  onLine(child.stdout, inTurn(toClient))
  onLine(process.stdin, inTurn(toServer))
  process.stdin.on("end", () => {
    // The client is done: the server is told, and has its grace; the client's SIGTERM reaches both.
    child.stdin.end()
  })
}
