/** Lines of JSON. Without imports of a library: the process in between loads it at each start. */
import type { Readable } from "node:stream"
import { StringDecoder } from "node:string_decoder"

/** Reads lines that end in a line feed, and in nothing else: `readline` breaks them at U+2028 and U+2029, too, which JSON may hold. */
export const onLine = (input: Readable, act: (line: string) => void): void => {
  const decoder = new StringDecoder("utf8")
  let begun: Array<string> = []
  input.on("data", (chunk: Buffer) => {
    const [first = "", ...others] = decoder.write(chunk).split("\n")
    begun.push(first)
    for (const other of others) {
      act(begun.join(""))
      begun = [other]
    }
  })
}
