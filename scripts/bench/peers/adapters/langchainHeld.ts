/** The same, with the tools handed to the agent once, as in the README's first example. */
import { connecting } from "./langchain.ts"

export const connect = connecting(true)
