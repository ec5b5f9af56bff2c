/** Where a transport tells that it broke: whoever listens hears the first reason, however late. */
import type { Reason } from "../reasons.ts"

export interface Breaking {
  readonly tell: (reason: Reason) => void
  readonly listen: (listener: (reason: Reason) => void) => void
}

export const make = (): Breaking => {
  let told: Reason | undefined
  let listener: ((reason: Reason) => void) | undefined
  return {
    tell: (reason) => {
      if (told !== undefined) return
      told = reason
      listener?.(reason)
    },
    listen: (hear) => {
      listener = hear
      if (told !== undefined) hear(told)
    }
  }
}
