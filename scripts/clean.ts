// A build starts from nothing, so that a deleted module cannot live on in what is published.
import { rmSync } from "node:fs"

for (const directory of ["packages/connection", "packages/testing", "apps/cli"]) {
  rmSync(new URL(`../${directory}/dist`, import.meta.url), { recursive: true, force: true })
}
