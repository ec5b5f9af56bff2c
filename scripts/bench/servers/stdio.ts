/** The light server over stdio. It ends with its stdin, which ends with whoever started it. */
import * as Light from "./light.ts"

const newline = 10
let pieces: Array<Buffer> = []

/** Texts are made once: what a large answer costs the server would otherwise cover what it costs the client. */
const produced = new Map<unknown, Buffer>()

const textOf = (bytes: unknown): Buffer => {
  const known = produced.get(bytes)
  if (known !== undefined) return known
  const text = Buffer.alloc(Number(bytes), "x")
  produced.set(bytes, text)
  return text
}

const answer = (line: Buffer): string => {
  const message: Light.Message = JSON.parse(line.toString())
  if (message.params?.name === "produce") {
    process.stdout.write(`{"jsonrpc":"2.0","id":${message.id},"result":{"content":[{"type":"text","text":"`)
    process.stdout.write(textOf(message.params.arguments?.["bytes"]))
    return `"}]}}\n`
  }
  const reply = Light.reply(message)
  return reply === undefined ? "" : `${JSON.stringify(reply)}\n`
}

process.stdin.on("data", (chunk: Buffer) => {
  // All answers to one chunk leave in one write.
  let answers = ""
  let start = 0
  while (true) {
    const end = chunk.indexOf(newline, start)
    if (end === -1) break
    pieces.push(chunk.subarray(start, end))
    answers += answer(pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces))
    pieces = []
    start = end + 1
  }
  if (start < chunk.length) pieces.push(chunk.subarray(start))
  if (answers !== "") process.stdout.write(answers)
})
process.stdin.on("end", () => process.exit())
process.stdout.on("error", () => process.exit())
