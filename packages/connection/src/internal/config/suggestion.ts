/** "Did you mean": what was probably meant by a key that does not exist. */

/** The closest of the candidates, when it is close enough to be meant. */
export const closest = (word: string, candidates: Iterable<string>): string | undefined => {
  let best: { readonly candidate: string; readonly distance: number } | undefined
  for (const candidate of candidates) {
    const limit = Math.min(2, Math.floor(candidate.length / 3))
    // Whoever writes `http-headers` knows the word.
    const distance =
      plain(word) === plain(candidate) ? 0 : distanceOf(word.toLowerCase(), candidate.toLowerCase(), limit)
    if (distance <= limit && (best === undefined || distance < best.distance)) best = { candidate, distance }
  }
  return best?.candidate
}

const plain = (word: string): string => word.toLowerCase().replace(/[-_\s]/g, "")

/** How many letters to add, drop, change, or swap with their neighbour; more than `limit` is not counted. */
const distanceOf = (one: string, other: string, limit: number): number => {
  if (Math.abs(one.length - other.length) > limit) return limit + 1
  let before: ReadonlyArray<number> = []
  let last = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (let i = 1; i <= one.length; i++) {
    const row = [i]
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1]
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
      row.push(
        Math.min(
          at(last, j) + 1,
          at(row, j - 1) + 1,
          at(last, j - 1) + (same ? 0 : 1),
          swapped ? at(before, j - 2) + 1 : limit + 1
        )
      )
    }
    before = last
    last = row
  }
  return at(last, other.length)
}

const at = (row: ReadonlyArray<number>, index: number): number => row[index] ?? Number.POSITIVE_INFINITY
