/** The light server over stdio. It ends with its stdin, which ends with whoever started it. */
import * as Light from "./light.ts"

const newline = 10
let pieces: Array<Buffer> = []

const answer = (line: Buffer): string => {
  const reply = Light.reply(JSON.parse(line.toString()))
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
