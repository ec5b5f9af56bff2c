/** The SDK's client for one session: it asks for log messages, and leaves out what the SDK does for every request without need. */
import {
  Client,
  type ListToolsResult,
  LOG_LEVEL_META_KEY,
  type Request,
  type RequestMethod,
  type RequestOptions,
  type ResultTypeMap,
  type StandardSchemaV1
} from "@modelcontextprotocol/client"
import type { SessionHost } from "../../McpSession.ts"
import type { OpenContext } from "../../McpTransport.ts"

export interface Options {
  readonly client: OpenContext["client"]
  readonly limits: OpenContext["limits"]
  readonly host: SessionHost
  /** Which era it speaks; `auto` asks the server. */
  readonly era: "auto" | "legacy" | "modern"
}

/** By what the SDK knows of an era, and by method. */
const validators = new WeakMap<object, Map<string, StandardSchemaV1 | undefined>>()

/** The SDK's client, which asks for log messages with every request of the modern era. */
export class SessionClient extends Client {
  readonly #logLevel: SessionHost["logLevel"]

  constructor(options: Options) {
    super(options.client, {
      listMaxPages: options.limits.maxPages,
      capabilities: options.host.capabilities,
      versionNegotiation: options.era === "modern" ? modernOnly : { mode: options.era }
    })
    this.#logLevel = options.host.logLevel
  }

  override request<Method extends RequestMethod>(
    request: { readonly method: Method; readonly params?: Record<string, unknown> },
    options?: RequestOptions
  ): Promise<ResultTypeMap[Method]>
  override request<Schema extends StandardSchemaV1>(
    request: Request,
    resultSchema: Schema,
    options?: RequestOptions
  ): Promise<StandardSchemaV1.InferOutput<Schema>>
  override request(
    request: Request,
    schemaOrOptions?: StandardSchemaV1 | RequestOptions,
    options?: RequestOptions
  ): Promise<unknown> {
    if (isSchema(schemaOrOptions)) return super.request(request, schemaOrOptions, options)
    const validator = this.#validatorOf(request.method)
    return validator === undefined
      ? super.request(request as { readonly method: RequestMethod }, schemaOrOptions)
      : super.request(request, validator, schemaOrOptions)
  }

  /** The tools whose results the SDK checks against their output schemas, and more: they may have lost them since. */
  #checked: Set<string> | undefined

  listed(list: ListToolsResult): ListToolsResult {
    for (const { name, outputSchema } of list.tools) {
      if (outputSchema !== undefined) this.#checked = (this.#checked ?? new Set()).add(name)
    }
    return list
  }

  /** Whether `callTool` does anything beside the request: looking for that in its cache takes a sixth of a call. */
  hasMoreToDo(tool: string): boolean {
    return this.#checked?.has(tool) === true || this.getProtocolEra() !== "legacy"
  }

  /**
   * The SDK finds out for every request whether it knows the method, by validating a result that is not there, and renders the error:
   * a third of what a call costs it (Protocol.request, `codecResultValidator`). What it knows of an era does not change.
   */
  #validatorOf(method: string): StandardSchemaV1 | undefined {
    if (this._negotiatedProtocolVersion === undefined) return undefined
    const codec = this._wireCodec()
    const known = validators.get(codec) ?? new Map<string, StandardSchemaV1 | undefined>()
    validators.set(codec, known)
    if (known.has(method)) return known.get(method)
    const probe = codec.validateResult(method, undefined)
    const validator: StandardSchemaV1 | undefined =
      !probe.ok && probe.reason === "not-in-era"
        ? undefined
        : {
            "~standard": {
              version: 1,
              vendor: "mcp-tether",
              validate: (value) => {
                const outcome = codec.validateResult(method, value)
                if (outcome.ok) return { value: outcome.value }
                const message = outcome.reason === "invalid" ? outcome.message : `not a result of ${method}`
                return { issues: [{ message }] }
              }
            }
          }
    known.set(method, validator)
    return validator
  }

  protected override _outboundMetaEnvelope(): Readonly<Record<string, unknown>> | undefined {
    const envelope = super._outboundMetaEnvelope()
    const level = this.#logLevel()
    return envelope === undefined || level === undefined ? envelope : { ...envelope, [LOG_LEVEL_META_KEY]: level }
  }
}

const isSchema = (value: StandardSchemaV1 | RequestOptions | undefined): value is StandardSchemaV1 =>
  value !== undefined && "~standard" in value

/** A server that ignores what it does not know must not use up the whole time there is to start. */
const modernOnly = { mode: { pin: "2026-07-28" }, probe: { timeoutMs: 5_000 } } as const
