/** Randomness of its own for each of many: what one draws depends on nobody else, and 100,000 of them are small. */
import * as Hash from "effect/Hash"
import type * as Random from "effect/Random"

/** The generator number `index` of a seed (mulberry32, from a start that is mixed like MurmurHash3's end). */
export const make = (seed: string | number, index: number): typeof Random.Random.Service => {
  let state = mixed(Hash.string(String(seed)) ^ Math.imul(index + 1, 0x9e3779b9))
  const next32 = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return (bits ^ (bits >>> 14)) >>> 0
  }
  const nextDoubleUnsafe = (): number => ((next32() >>> 5) * 2 ** 26 + (next32() >>> 6)) / 2 ** 53
  return {
    nextDoubleUnsafe,
    nextIntUnsafe: () =>
      Math.floor(nextDoubleUnsafe() * (Number.MAX_SAFE_INTEGER - Number.MIN_SAFE_INTEGER + 1)) + Number.MIN_SAFE_INTEGER
  }
}

const mixed = (bits: number): number => {
  let mix = bits
  mix = Math.imul(mix ^ (mix >>> 16), 0x85ebca6b)
  mix = Math.imul(mix ^ (mix >>> 13), 0xc2b2ae35)
  return mix ^ (mix >>> 16)
}
