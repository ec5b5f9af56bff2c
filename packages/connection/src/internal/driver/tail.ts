/** The last of a text stream: what a process said before it died. */

export interface Tail {
  readonly push: (chunk: Uint8Array) => void
  /** The last bytes as text, from the first whole line on when something was dropped; `undefined` when there was nothing. */
  readonly text: () => string | undefined
}

/** `cutMargin`: how much of a line that is cut is dropped as well, where its beginning could be the end of a secret. */
export const make = (maxBytes: number, cutMargin = 0): Tail => {
  const pieces: Array<Uint8Array> = []
  let size = 0
  let dropped = false

  return {
    push: (chunk) => {
      const piece = chunk.length > maxBytes ? chunk.subarray(chunk.length - maxBytes) : chunk
      dropped = dropped || piece !== chunk
      pieces.push(piece)
      size += piece.length
      let first = pieces[0]
      while (first !== undefined && size - first.length >= maxBytes) {
        pieces.shift()
        size -= first.length
        dropped = true
        first = pieces[0]
      }
    },
    text: () => {
      if (size === 0) return undefined
      const all = Buffer.concat(pieces, size)
      const text = all.subarray(Math.max(0, size - maxBytes)).toString("utf8")
      if (!dropped && size <= maxBytes) return text
      const lineEnd = text.indexOf("\n")
      return lineEnd === -1 ? text.slice(cutMargin) : text.slice(lineEnd + 1)
    }
  }
}
