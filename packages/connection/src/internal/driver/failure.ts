/** What the SDK throws, as what the engine knows. */
import { ProtocolError, SdkError, SdkErrorCode } from "@modelcontextprotocol/client"
import {
  HandshakeRejected,
  MalformedResponse,
  type Reason,
  TransportClosed,
  UnsupportedProtocol
} from "../../ConnectionError.ts"
import type { OpenContext } from "../../McpTransport.ts"

/** Thrown by our transports when a message cannot be serialized. */
export class Unserializable extends Error {}

/** What `JSON.stringify` threw, without its own words: they quote the arguments. */
export const unserializable = (error: unknown): Unserializable => {
  const words = error instanceof TypeError ? error.message : ""
  const what = words.includes("circular") ? "a circular structure" : words.includes("BigInt") ? "a BigInt" : "something"
  return new Unserializable(`its parameters hold ${what} that JSON cannot say`)
}

/** What became of a request that the SDK rejected; `Disconnected` may be one if the session is lost, and else is the SDK's own. */
export type Rejection =
  | { readonly _tag: "Disconnected"; readonly description: string }
  | { readonly _tag: "Rejected"; readonly code: number; readonly description: string; readonly data: unknown }
  | { readonly _tag: "InvalidResult"; readonly description: string }
  | { readonly _tag: "InvalidRequest"; readonly description: string }

const methodNotFound = -32601

/**
 * Explains the rejection of a request. `answered`: the server did answer with a JSON-RPC error. The SDK uses the same class for
 * what it finds wrong with a result, and there the request has run.
 */
export const ofRequest = (error: unknown, answered: boolean, limits: OpenContext["limits"]): Rejection => {
  if (ProtocolError.isInstance(error)) {
    return answered
      ? { _tag: "Rejected", code: error.code, description: error.message, data: error.data }
      : { _tag: "InvalidResult", description: error.message }
  }
  if (SdkError.isInstance(error)) {
    switch (error.code) {
      case SdkErrorCode.InvalidResult:
      case SdkErrorCode.UnsupportedResultType:
      case SdkErrorCode.InputRequiredRoundsExceeded:
        return { _tag: "InvalidResult", description: error.message }
      case SdkErrorCode.ListPaginationExceeded:
        return { _tag: "InvalidResult", description: `more than ${limits.maxPages} pages (limits.maxPages)` }
      case SdkErrorCode.MethodNotSupportedByProtocolVersion:
      case SdkErrorCode.CapabilityNotSupported:
        return { _tag: "Rejected", code: methodNotFound, description: error.message, data: undefined }
      default:
        return { _tag: "Disconnected", description: error.message }
    }
  }
  return error instanceof Unserializable
    ? { _tag: "InvalidRequest", description: error.message }
    : { _tag: "Disconnected", description: error instanceof Error ? error.message : String(error) }
}

/** Explains why the handshake failed while the transport was alive. */
export const ofHandshake = (
  error: unknown,
  conceal: (text: string) => string,
  explain?: (error: unknown, sent: boolean | undefined) => Reason
): Reason => {
  const message = conceal(error instanceof Error ? error.message : String(error))
  if (ProtocolError.isInstance(error)) return new HandshakeRejected({ code: error.code, description: message })
  if (SdkError.isInstance(error) && error.code === SdkErrorCode.InvalidResult) {
    return new MalformedResponse({ description: "the server answered initialize with an invalid result" })
  }
  // The SDK throws a plain Error here (client.ts, `_legacyHandshake`).
  if (message.startsWith("Server's protocol version is not supported"))
    return new UnsupportedProtocol({ description: message })
  return explain === undefined
    ? new TransportClosed({ description: `the handshake failed: ${message}` })
    : explain(error, undefined)
}
