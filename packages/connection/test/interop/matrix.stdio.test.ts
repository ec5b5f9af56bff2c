import { matrix } from "./matrix.ts"
import { servers } from "./servers.ts"

servers.filter(({ kind }) => kind === "stdio").forEach(matrix)
