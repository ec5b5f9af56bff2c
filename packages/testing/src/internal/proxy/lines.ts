/** Lines as MCP has them over stdio: what is between line feeds. `readline` ends them at U+2028 as well, which JSON has in its strings. */
import type { Readable } from "node:stream"

const feed = 10

/** Calls with each line, without its end; linear in the size of what comes. */
export const read = (input: Readable, onLine: (line: Buffer) => void): void => {
  let rest: Array<Buffer> = []
  input.on("data", (chunk: Buffer) => {
    let begin = 0
    for (let end = chunk.indexOf(feed); end !== -1; end = chunk.indexOf(feed, begin)) {
      onLine(Buffer.concat([...rest, chunk.subarray(begin, end)]))
      rest = []
      begin = end + 1
    }
    if (begin < chunk.length) rest.push(chunk.subarray(begin))
  })
}
