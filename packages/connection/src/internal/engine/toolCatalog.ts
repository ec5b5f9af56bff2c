/** What one session has told about its tools. */
import type { ListToolsResult, ToolAnnotations } from "@modelcontextprotocol/client"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { SessionFailure } from "../../McpSession.ts"

export class ToolCatalog {
  #known: ReadonlyMap<string, ToolAnnotations | undefined> | undefined = undefined
  #epoch = 0
  #listing: Deferred.Deferred<ListToolsResult, SessionFailure> | undefined = undefined

  /** Changes when the server says that its tools have changed. */
  get epoch(): number {
    return this.#epoch
  }

  /** Takes note of an answer to `tools/list` that was asked in `epoch`; one that was overtaken is no promise. */
  remember(result: unknown, epoch: number): void {
    if (epoch === this.#epoch && isToolList(result)) {
      this.#known = new Map(result.tools.map((tool) => [tool.name, tool.annotations]))
    }
  }

  /** The server says that its tools have changed: what is known of them is no promise any more. */
  forget(): void {
    this.#epoch += 1
    this.#known = undefined
  }

  /** The tool's annotations as last listed; `None` when nothing was listed yet. */
  annotations(tool: string): Option.Option<ToolAnnotations | undefined> {
    return this.#known === undefined ? Option.none() : Option.some(this.#known.get(tool))
  }

  /**
   * The tool's annotations, listing the tools with `list` if that was not done yet: once, however many ask at a time, and
   * whoever of them leaves meanwhile. `list` ends with the session.
   */
  ask(
    tool: string,
    list: Effect.Effect<ListToolsResult, SessionFailure>,
    left = maxListings
  ): Effect.Effect<ToolAnnotations | undefined, SessionFailure> {
    return Effect.suspend(() => {
      if (this.#known !== undefined) return Effect.succeed(this.#known.get(tool))
      // No promise, then: a server that changes its tools all the time has none to give.
      if (left === 0) return Effect.succeed(undefined)
      return Effect.flatMap(this.#listOnce(list), () => this.ask(tool, list, left - 1))
    })
  }

  #listOnce(list: Effect.Effect<ListToolsResult, SessionFailure>): Effect.Effect<ListToolsResult, SessionFailure> {
    if (this.#listing !== undefined) return Deferred.await(this.#listing)
    const asked = this.#epoch
    const mine = Deferred.makeUnsafe<ListToolsResult, SessionFailure>()
    this.#listing = mine
    return list.pipe(
      Effect.tap((result) => Effect.sync(() => this.remember(result, asked))),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          this.#listing = undefined
          Deferred.doneUnsafe(mine, exit)
        })
      ),
      Effect.forkDetach({ startImmediately: true }),
      Effect.andThen(Deferred.await(mine))
    )
  }
}

/** Servers that register their tools after the handshake announce it while the tools are being listed. */
const maxListings = 3

const isToolList = (result: unknown): result is ListToolsResult =>
  Predicate.hasProperty(result, "tools") && Array.isArray(result.tools)
