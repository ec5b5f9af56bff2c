/** What to do about a server that cannot be reached, or does not do what it should: a sentence that somebody can act on. */
import type { ConnectionError, RequestError } from "@mcp-tether/connection"
import { serverOf } from "../auth/Credentials.ts"

/** How the server is reached, as far as advice depends on it. */
export type Way = { readonly _tag: "Command"; readonly command: string } | { readonly _tag: "Url"; readonly url: URL }

export const of = (way: Way, reason: ConnectionError.Reason): string => {
  switch (reason._tag) {
    case "SpawnFailed":
      return reason.code === "ENOENT"
        ? `install ${reason.command}, or give its full path; is the working directory there?`
        : reason.code === "EACCES"
          ? `make ${reason.command} executable (chmod +x)`
          : `start ${reason.command} by hand and see what it says`
    case "ProcessExited":
      return way._tag === "Command"
        ? `start ${way.command} by hand and see why it ends; are its arguments and environment variables right?`
        : "see the server's own log"
    case "StartupTimeout":
      return way._tag === "Command"
        ? `is ${way.command} an MCP server over stdio? If it is still being installed (npx), try again with a longer --timeout`
        : "something listens there and says nothing: is it an MCP server, and is the path right?"
    case "NetworkFailed":
      return reason.code === "ECONNREFUSED"
        ? "nobody listens there: is the server running, and the port right?"
        : reason.code === "ENOTFOUND" || reason.code === "EAI_AGAIN"
          ? "there is no such host: is the name right, and the network up?"
          : "is the server running, and can this machine reach it?"
    case "TlsFailed":
      return "have its certificate renewed or trusted (NODE_EXTRA_CA_CERTS), or use http: where that is what it speaks"
    case "Unauthorized":
      return way._tag === "Url" ? `run mcp-tether login ${serverOf(way.url)}` : "give it its credentials"
    case "UnexpectedStatus":
      return reason.status === 404 || reason.status === 405
        ? "is the path right? Most MCP endpoints end in /mcp or /sse"
        : "see the server's own log"
    case "ServerUnavailable":
      return "it is overloaded or down: try again later"
    case "HandshakeRejected":
    case "UnsupportedProtocol":
      return "update the server: it speaks no version of MCP that this client does"
    case "MalformedResponse":
      return way._tag === "Command"
        ? `what ${way.command} prints on stdout is no MCP: log to stderr instead`
        : "what answers there is no MCP server: is the path right, or a login page in between?"
    case "TransportClosed":
      return way._tag === "Command"
        ? `is ${way.command} an MCP server over stdio?`
        : "something closes the connection: is there a proxy in between?"
    case "SessionExpired":
    case "LivenessLost":
    case "RestorationFailed":
      return "see the server's own log"
    case "HeadersFailed":
      return "see where its headers come from"
    case "InternalError":
      return "please report this"
  }
}

/** The reason why there is no session, where a request tells of it. */
export const reasonOf = (
  error: ConnectionError.ConnectionError | RequestError.RequestError
): ConnectionError.Reason | undefined =>
  error._tag === "ConnectionError"
    ? error.reason
    : error._tag === "ConnectionUnavailable" || error._tag === "OutcomeUnknown"
      ? error.cause?.reason
      : undefined
