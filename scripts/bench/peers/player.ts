/** A client's process, in which nothing is compiled that was compiled before: the clients are large, and they are started again and again. */
import { enableCompileCache } from "node:module"
import * as path from "node:path"

// Not through the environment, which some clients hand on to their servers and others do not.
enableCompileCache(path.resolve(import.meta.dirname, "../node_modules/.cache/node"))
await import("./playing.ts")
