/** Takes down what comes in on stdin, and when (milliseconds since the epoch), a line of JSON for each piece. A program. */
import { appendFileSync } from "node:fs"
import { StringDecoder } from "node:string_decoder"

const [, , file = "/dev/null"] = process.argv
const decoder = new StringDecoder("utf8")

process.stdin.on("data", (chunk: Buffer) => {
  // A piece may end within a character.
  const text = decoder.write(chunk)
  if (text !== "") appendFileSync(file, `${JSON.stringify([Date.now(), text])}\n`)
})
