/** What the servers of a simulation were brought to: a book for each session, written as its own server sees it. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { McpTransport } from "../../src/McpTransport.ts"
import { type Call, type SimulatedSession, type Simulation, tool } from "./simulation.ts"

export interface Book {
  level: unknown
  readonly subscriptions: Set<string>
  /** The roots, as last asked for: in the handshake, and when the client said that they changed. */
  roots: unknown
  /** The methods that the server has ignored once, so that nobody can know what became of them. */
  readonly ignored: Set<string>
  closed: boolean
}

export class ServerBooks {
  private readonly books = new Map<SimulatedSession, Book>()
  private readonly simulation: Simulation
  /** How often the server has changed its tools. */
  version = 0

  constructor(simulation: Simulation) {
    this.simulation = simulation
    const { tools } = simulation.script
    simulation.script.tools = (generation) => [...tools(generation), tool(`version ${this.version}`)]
  }

  /** The book of the session that serves as `generation`. */
  of(generation: number): Book {
    const session = this.simulation.sessions.findLast((session) => session.generation === generation)
    if (session === undefined) throw new Error(`no session ${generation} was opened`)
    return this.bookOf(session)
  }

  /** A request that the server carries out. */
  note({ session, ticket: { method, params } }: Call): void {
    const book = this.bookOf(session)
    if (method === "logging/setLevel" && Predicate.hasProperty(params, "level")) book.level = params.level
    if (!Predicate.hasProperty(params, "uri") || !Predicate.isString(params.uri)) return
    if (method === "resources/subscribe") book.subscriptions.add(params.uri)
    if (method === "resources/unsubscribe") book.subscriptions.delete(params.uri)
  }

  /** A request that the server ignores. */
  ignore({ session, ticket }: Call): void {
    this.bookOf(session).ignored.add(ticket.method)
  }

  /** The server has other tools from now on, and says so wherever it can. */
  readonly changeTools: Effect.Effect<void> = Effect.suspend(() => {
    this.version += 1
    return Effect.forEach(
      this.simulation.sessions.filter((session) => !this.bookOf(session).closed),
      (session) => session.tell({ method: "notifications/tools/list_changed", params: undefined }),
      { discard: true }
    )
  })

  /** The simulation's transport, to servers that ask for the roots. */
  get transport(): McpTransport {
    const { simulation } = this
    return {
      ...simulation.transport,
      open: (context) =>
        Effect.gen({ self: this }, function* () {
          const session = yield* simulation.transport.open(context)
          const { current } = simulation
          const book = this.bookOf(current)
          yield* Effect.addFinalizer(() => Effect.sync(() => (book.closed = true)))
          const askForRoots = Effect.suspend(
            () => current.host.handlers.get("roots/list")?.(undefined) ?? Effect.succeed({ roots: undefined })
          ).pipe(
            Effect.map((answer) => {
              book.roots = Predicate.hasProperty(answer, "roots") ? answer.roots : undefined
            }),
            Effect.ignore
          )
          yield* askForRoots
          return {
            ...session,
            notify: (method, params) =>
              Effect.tap(session.notify(method, params), () =>
                method === "notifications/roots/list_changed" ? askForRoots : Effect.void
              )
          }
        })
    }
  }

  private bookOf(session: SimulatedSession): Book {
    const known = this.books.get(session)
    if (known !== undefined) return known
    const book: Book = {
      level: undefined,
      subscriptions: new Set(),
      roots: undefined,
      ignored: new Set(),
      closed: false
    }
    this.books.set(session, book)
    return book
  }
}
