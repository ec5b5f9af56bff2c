/** Where a file is: every place on the way to it whose change can make it another file. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"

/** A name in a folder. */
export interface Place {
  /** Without symbolic links. */
  readonly folder: string
  readonly name: string
  /** Whether the file is changed here most of all: here is a link, or the file itself, or the first part of the way that is not there. */
  readonly isTurn: boolean
}

/** As many as Linux follows. */
const maxLinks = 40

/**
 * The places on the way to an absolute path, as they are now. A config map of Kubernetes is changed by one link in the middle of the way
 * (`..data`), dotfiles are links to another folder, and a deployment may move whole folders.
 */
export const of = Effect.fnUntraced(function* (
  file: string
): Effect.fn.Return<ReadonlyArray<Place>, never, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const partsOf = (way: string): ReadonlyArray<string> => way.split(path.sep).filter((part) => part !== "")
  const places: Array<Place> = []
  let { root: folder } = path.parse(file)
  let parts = partsOf(file.slice(folder.length))
  let links = 0
  while (true) {
    const [name, ...rest] = parts
    if (name === undefined) return places
    if (name === "." || name === "..") {
      folder = name === "." ? folder : path.dirname(folder)
      parts = rest
      continue
    }
    const place = path.join(folder, name)
    const link = yield* Effect.option(fs.readLink(place))
    const isLink = link._tag === "Some" && links < maxLinks
    const isThere = link._tag === "Some" || (yield* Effect.orElseSucceed(fs.exists(place), () => true))
    places.push({ folder, name, isTurn: isLink || !isThere || rest.length === 0 })
    if (!isThere) return places
    if (!isLink) {
      folder = place
      parts = rest
      continue
    }
    links += 1
    const { root } = path.parse(link.value)
    if (root !== "") folder = root
    parts = [...partsOf(link.value.slice(root.length)), ...rest]
  }
})

/** Whether two ways are the same. */
export const equals = (a: ReadonlyArray<Place>, b: ReadonlyArray<Place>): boolean =>
  a.length === b.length && a.every(({ folder, name }, index) => folder === b[index]?.folder && name === b[index]?.name)
