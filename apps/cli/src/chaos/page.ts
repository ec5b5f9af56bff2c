import type { Document } from "./summary.ts"
export const page = (document: Document): string => JSON.stringify(document)
