/**
 * The process between a client and its server: a program of its own. It hands on line by line, and asks its director about each message.
 *
 * It ends with its server, with its stdin, and with its director; the server never outlives it.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { connect, type Socket } from "node:net"
import type { Readable, Writable } from "node:stream"
import { setTimeout as sleep } from "node:timers/promises"
import * as Lines from "./lines.ts"
import { parse, replyIdIn, requestIn } from "./message.ts"
import { addressVariable, type Order, type ReplyFate, type Report, type Verdict } from "./protocol.ts"

const [, , command = "", ...args] = process.argv
const { [addressVariable]: address = "", ...env } = process.env
const [port = "", token = ""] = address.split(" ")

let server: ChildProcessByStdio<Writable, Readable, null> | undefined = undefined
let isSevered = false
let asked = 0
/** Who waits for a word about a message. */
const waiting = new Map<number, (verdict: Verdict) => void>()
/** What becomes of the replies to the requests that are on their way. */
const fates = new Map<string | number, ReplyFate>()

/** In milliseconds: how long whoever was handed something has to read it. */
const reading = 50
/** In milliseconds: how long what a server wrote before its end may take to come, while a process that it left holds its stdout. */
const lastWords = 250
/** In bytes: with more on its way than this, the sender has to wait. */
const room = 1024 * 1024

/** Ends the server with all that it has started, and this process: a transport gives them a group of their own. */
const crash = (): void => {
  try {
    process.kill(-process.pid, "SIGKILL")
  } catch {
    server?.kill("SIGKILL")
    process.kill(process.pid, "SIGKILL")
  }
}

const leave = (code: number): void => {
  if (server === undefined) process.exit(code)
  else crash()
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

/** The moment of a crash has come: the director knows for how long nothing can be started then. */
const moment = (): void => tell({ _tag: "Moment" })

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

/** Hands on what the client sends. */
const toServer = async (line: Buffer, verdict: Verdict): Promise<void> => {
  if (isSevered || server === undefined) return
  const id = requestIn(parse(line.toString("utf8")))?.id
  // What died with the request in its hands does not answer it.
  const drop = verdict.crash === "afterReceiving" || verdict.reply?.drop === true
  if (id !== undefined && verdict.reply !== undefined) fates.set(id, { ...verdict.reply, drop })
  for (let time = 0; time < verdict.times; time += 1) await write(server.stdin, line)
  // When the server has had time to read it.
  if (verdict.crash === "afterReceiving") setTimeout(moment, reading)
}

/** Hands on what the server says. */
const toClient = async (line: Buffer): Promise<void> => {
  if (isSevered) return
  const id = replyIdIn(parse(line.toString("utf8")))
  const fate = id === undefined ? undefined : fates.get(id)
  if (id !== undefined) fates.delete(id)
  if (fate?.crash === "afterEffect") return moment()
  if (fate?.drop === true) return
  const text = fate?.corrupt === true ? line.subarray(0, line.length / 2) : line
  await write(process.stdout, text)
  if (fate?.duplicate === true) await write(process.stdout, text)
  if (fate?.crash === "afterReplying") setTimeout(moment, reading)
}

const newline = Buffer.from("\n")

/** Done when whoever reads has room for it, or is gone. */
const write = (to: Writable, line: Buffer): Promise<void> =>
  new Promise((resolve) => to.write(Buffer.concat([line, newline]), () => resolve()))

/**
 * Reads lines, and acts on each when it has its verdict and has waited as long as that says since it came; in their order, and without
 * reading further than there is room. Answers how to wait for the last.
 */
const handOn = (
  input: Readable,
  judge: (line: Buffer) => Promise<Verdict>,
  act: (line: Buffer, verdict: Verdict) => Promise<void>
): (() => Promise<void>) => {
  let turn = Promise.resolve()
  let size = 0
  Lines.read(input, (line) => {
    const came = performance.now()
    const verdict = judge(line)
    size += line.length
    if (size > room) input.pause()
    turn = turn.then(async () => {
      const { waitMillis } = await verdict
      const wait = came + waitMillis - performance.now()
      if (wait > 0) await sleep(wait)
      await act(line, await verdict)
      size -= line.length
      if (size <= room) input.resume()
    })
  })
  return () => turn
}

/** An answer to the server's own question needs no word, but has its turn, and is as late as others. */
const judgeOfClient = (line: Buffer): Promise<Verdict> => {
  const message = requestIn(parse(line.toString("utf8")))
  if (message === undefined) return ask((number) => ({ _tag: "Reply", number }))
  const { id, method, tool } = message
  return ask((number) => ({ _tag: "Message", number, method, tool, isRequest: id !== undefined }))
}

const start = (): void => {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], env })
  server = child
  child.on("error", (error) => {
    process.stderr.write(`${error.message}\n`)
    process.exit(127)
  })
  child.stdin.on("error", () => {})
  // Who writes to nobody shall know.
  process.stdout.on("error", () => child.stdout.destroy())
  const said = handOn(child.stdout, () => ask((number) => ({ _tag: "Reply", number })), toClient)
  const ended = new Promise<void>((resolve) => child.stdout.once("close", () => resolve()))
  child.on("exit", (code, signal) => {
    void Promise.race([ended, sleep(lastWords)])
      .then(said)
      .then(() => {
        // As it ended, so does this process.
        if (signal !== null) process.kill(process.pid, signal)
        else process.exit(code ?? 1)
      })
  })
  const sent = handOn(process.stdin, judgeOfClient, toServer)
  // The client is done: the server is told, and has its grace; the client's SIGTERM reaches both.
  process.stdin.once("end", () => {
    void sent().then(() => child.stdin.end())
  })
}

Lines.read(director, (line) => follow(parse(line.toString("utf8")) as Order))
tell({ _tag: "Hello", token, pid: process.pid })
