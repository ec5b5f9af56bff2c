/** The server as one script: what each of the hundreds of processes would do again, types and modules, is done once. */
import * as path from "node:path"
import { rolldown } from "rolldown"

/** Writes it into the folder, and gives the file to run. */
export const write = async (folder: string): Promise<string> => {
  const bundle = await rolldown({ input: path.join(import.meta.dirname, "server.ts"), platform: "node" })
  const file = path.join(folder, "server.cjs")
  await bundle.write({ file, format: "cjs" })
  await bundle.close()
  return file
}
