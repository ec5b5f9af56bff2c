/** What is told once: one listener hears what was told first, however late it listens. */
export interface Telling<in out A> {
  readonly tell: (what: A) => void
  readonly listen: (listener: (what: A) => void) => void
}

export const make = <A extends object>(): Telling<A> => {
  let told: A | undefined
  let listener: ((what: A) => void) | undefined
  return {
    tell: (what) => {
      if (told !== undefined) return
      told = what
      listener?.(what)
    },
    listen: (hear) => {
      listener = hear
      if (told !== undefined) hear(told)
    }
  }
}
