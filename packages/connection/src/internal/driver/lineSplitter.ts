/** Cuts a byte stream into lines, in time linear in the bytes: chunks are kept in a list and joined once a line is whole. */

const newline = 10

export type Push = "ok" | "overflow"

export interface LineSplitter {
  readonly maxBytes: number
  /** Hands each finished line to `onLine`. `"overflow"`: a line passed `maxBytes`; the splitter is of no more use. */
  readonly push: (chunk: Uint8Array) => Push
  /** Hands over what is left without a line end. */
  readonly end: () => void
}

export const make = (options: { readonly maxBytes: number; readonly onLine: (line: string) => void }): LineSplitter => {
  const { maxBytes, onLine } = options
  let pieces: Array<Uint8Array> = []
  let pending = 0

  const finish = (last: Uint8Array): void => {
    const bytes = pieces.length === 0 ? last : Buffer.concat([...pieces, last], pending + last.length)
    pieces = []
    pending = 0
    onLine(toText(bytes))
  }

  return {
    maxBytes,
    end: () => {
      if (pending > 0) finish(new Uint8Array(0))
    },
    push: (chunk) => {
      let start = 0
      while (true) {
        const end = chunk.indexOf(newline, start)
        const piece = chunk.subarray(start, end === -1 ? chunk.length : end)
        if (pending + piece.length > maxBytes) {
          pieces = []
          return "overflow"
        }
        if (end === -1) {
          if (piece.length > 0) {
            pieces.push(piece)
            pending += piece.length
          }
          return "ok"
        }
        finish(piece)
        start = end + 1
      }
    }
  }
}

const toText = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8")
