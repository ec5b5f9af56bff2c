/**
 * No client at all: lines into a pipe, and lines out of it, split from a list of chunks and parsed. It knows nothing of lost
 * processes, timeouts or other people's messages; it is the floor on which a client over stdio stands.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { awaiting, type Call, type Open, type Result } from "./subject.ts"

const newline = 10

const lines = (child: ChildProcess, onLine: (line: string) => void): void => {
  let pieces: Array<Buffer> = []
  child.stdout?.on("data", (chunk: Buffer) => {
    let start = 0
    while (true) {
      const end = chunk.indexOf(newline, start)
      if (end === -1) break
      pieces.push(chunk.subarray(start, end))
      onLine(Buffer.concat(pieces).toString())
      pieces = []
      start = end + 1
    }
    if (start < chunk.length) pieces.push(chunk.subarray(start))
  })
}

export const open: Open = async (target) => {
  if (target._tag !== "stdio") throw new Error("the bare client speaks over stdio only")
  const child = spawn(target.command, target.args, { stdio: ["pipe", "pipe", "inherit"] })
  const waiting = new Map<number, (result: Result) => void>()
  let id = 0
  lines(child, (line) => {
    const message = JSON.parse(line) as { readonly id: number; readonly result: Result }
    waiting.get(message.id)?.(message.result)
    waiting.delete(message.id)
  })
  const request = (method: string, params: unknown): Promise<Result> =>
    new Promise((resolve) => {
      id += 1
      waiting.set(id, resolve)
      child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`)
    })
  await request("initialize", {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "bare", version: "1" }
  })
  return {
    ...awaiting((call: Call) => request("tools/call", call)),
    again: () => Promise.reject(new Error("the bare client opens nothing anew")),
    close: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve())
        child.stdin.end()
      })
  }
}
