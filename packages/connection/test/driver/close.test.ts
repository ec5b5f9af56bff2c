import { assert, describe } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as McpConnection from "../../src/McpConnection.ts"
import {
  call,
  failureOf,
  fast,
  isAlive,
  kill,
  nothingHeld,
  type Options,
  pidOf,
  resources,
  type Rig,
  scenario,
  timed,
  transportOf,
  until
} from "./rig.ts"

/** Opens a connection, works with it, closes it, and tells how long closing took. */
const closing = <A, E>(
  rig: Rig,
  options: Options,
  use: (connection: McpConnection.Shape) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const connection = yield* rig.connect(options).pipe(Scope.provide(scope))
    yield* use(connection)
    const [, took] = yield* timed(Scope.close(scope, Exit.void))
    assert.deepStrictEqual(rig.processes(), [], "a process outlived the connection")
    return took
  })

describe("closing a connection", () => {
  scenario("lets a server that listens leave by itself", (rig) =>
    Effect.gen(function* () {
      const took = yield* closing(rig, { server: { ignoreSigterm: true } }, (connection) => call(connection, "read"))
      rig.measured("closing a well-behaved server, ms", took)
      assert.isBelow(took, 1000)
      assert.deepStrictEqual(rig.ledger(), [], "it was sent a signal")
    })
  )

  scenario("ends a server that ignores the end of its stdin with SIGTERM", (rig) =>
    Effect.gen(function* () {
      const took = yield* closing(
        rig,
        { server: { ignoreEof: true }, stdio: { closeGrace: "200 millis" } },
        (connection) => call(connection, "read")
      )
      rig.measured("closing a server that ignores EOF (grace 200 ms), ms", took)
      assert.isAtLeast(took, 200)
      assert.isBelow(took, 1500)
    })
  )

  scenario("ends a server that ignores SIGTERM as well with SIGKILL", (rig) =>
    Effect.gen(function* () {
      const took = yield* closing(
        rig,
        { server: { ignoreEof: true, ignoreSigterm: true }, stdio: { closeGrace: "200 millis" } },
        (connection) => call(connection, "read")
      )
      rig.measured("closing a server that ignores EOF and SIGTERM (grace 200 ms), ms", took)
      assert.isAtLeast(took, 400)
      assert.isBelow(took, 2000)
      assert.deepStrictEqual(rig.ledger(), ["SIGTERM"])
    })
  )

  scenario("waits for the end of such a server by itself, as long as closeGrace makes it take", (rig) =>
    Effect.gen(function* () {
      const took = yield* closing(
        rig,
        { server: { ignoreEof: true, ignoreSigterm: true }, stdio: { closeGrace: "1 second" } },
        (connection) => call(connection, "read")
      )
      rig.measured("closing a server that ignores EOF and SIGTERM (grace 1 s), ms", took)
      assert.isAtLeast(took, 2000)
      assert.notMatch(rig.logs.join("\n"), /abandoned/)
      // Two graces are waited for here, and with a long grace that is longer than any fixed bound.
      const within = transportOf(rig, { ...rig.stdio(), closeGrace: "1 minute" }).closeWithin?.()
      assert(within !== undefined)
      assert.isAbove(Duration.toMillis(within), 120_000)
    })
  )

  scenario("ends a stopped server", (rig) =>
    Effect.gen(function* () {
      const took = yield* closing(rig, { stdio: { closeGrace: "100 millis" } }, (connection) =>
        Effect.map(pidOf(connection), (pid) => kill(pid, "SIGSTOP"))
      )
      rig.measured("closing a stopped server (grace 100 ms), ms", took)
      assert.isBelow(took, 2000)
    })
  )

  scenario("ends a server that is stopped behind a full pipe", (rig) =>
    Effect.gen(function* () {
      const took = yield* closing(rig, { stdio: { closeGrace: "100 millis" } }, (connection) =>
        Effect.gen(function* () {
          kill(yield* pidOf(connection), "SIGSTOP")
          yield* Effect.forkScoped(Effect.exit(call(connection, "write", { payload: "x".repeat(4_000_000) })), {
            startImmediately: true
          })
        })
      )
      assert.isBelow(took, 2000)
    })
  )

  scenario("takes along a child of the server that holds no pipe", (rig) =>
    closing(rig, { server: { helper: true } }, () => until("the helper", () => rig.processes().length === 2))
  )

  scenario("lets go of pipes that a daemon of the server, out of its group, holds on to", (rig) =>
    Effect.gen(function* () {
      const before = resources()
      const scope = yield* Scope.make()
      const connection = yield* rig.connect({ server: { daemonMillis: 20_000 } }).pipe(Scope.provide(scope))
      yield* call(connection, "read")
      const daemon = Number(rig.ledger()[0])
      yield* Effect.addFinalizer(() => {
        kill(daemon, "SIGKILL")
        return until("the end of the daemon", () => !isAlive(daemon))
      })
      const [, took] = yield* timed(Scope.close(scope, Exit.void))
      rig.measured("closing a server whose daemon holds its pipes, ms", took)
      assert.isBelow(took, 1500)
      assert.isTrue(isAlive(daemon))
      yield* nothingHeld(before)
    })
  )

  scenario("settles pending calls with ConnectionClosed, each at once", (rig) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connection = yield* rig
        .connect({ server: { ignoreEof: true }, stdio: { closeGrace: "300 millis" } })
        .pipe(Scope.provide(scope))
      const pending = yield* Effect.forkChild(timed(failureOf(call(connection, "write", { reply: "hang" }))))
      yield* rig.untilCalled("write")
      yield* Scope.close(scope, Exit.void)
      const [error] = yield* Fiber.join(pending)
      assert(error._tag === "ConnectionClosed", error.message)
      assert.strictEqual(error.delivery, "Unknown")
      const late = yield* failureOf(call(connection, "read"))
      assert(late._tag === "ConnectionClosed", late.message)
      assert.strictEqual(late.delivery, "NotSent")
    })
  )

  scenario("while the server hangs in its handshake leaves nothing behind", (rig) =>
    Effect.gen(function* () {
      const took = yield* closing(
        rig,
        { start: "background", server: { initialize: "hang" }, stdio: { closeGrace: "200 millis" } },
        () => until("initialize", () => rig.journal().length === 1)
      )
      assert.isBelow(took, 1500)
    })
  )
})

describe("a shell wrapper whose grandchild keeps the pipes open and ignores EOF", () => {
  const wrapped = (rig: Rig, options: Partial<McpConnection.Options> = {}) => {
    const { args = [], command } = rig.stdio({ ignoreEof: true })
    return McpConnection.make({
      name: "wrapped",
      heartbeat: "off",
      policy: fast,
      requestTimeout: "15 seconds",
      ...options,
      transport: transportOf(rig, {
        command: "sh",
        args: ["-c", '"$0" "$@"; true', command, ...args],
        closeGrace: "200 millis"
      })
    })
  }

  scenario("does not hide the death of the wrapper: pending calls settle fast, and the next call is answered", (rig) =>
    Effect.gen(function* () {
      const connection = yield* wrapped(rig)
      const wrapper = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(
        failureOf(call(connection, "write", { effect: "ran", reply: "hang" }, { replay: "never" }))
      )
      const { pid: grandchild } = yield* rig.untilCalled("write")
      assert.notStrictEqual(grandchild, wrapper)
      kill(wrapper, "SIGKILL")
      const [error, took] = yield* timed(Fiber.join(pending))
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.signal, "SIGKILL")
      rig.measured("wrapper killed, grandchild holds stdout: to failure of the pending call, ms", took)
      assert.isBelow(took, 1000)
      const [, answered] = yield* timed(call(connection, "read"))
      rig.measured("… and to the next answer, ms", answered)
      yield* until("the end of the grandchild", () => !isAlive(grandchild))
    })
  )

  scenario("is closed with everything in it", (rig) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connection = yield* wrapped(rig).pipe(Scope.provide(scope))
      yield* call(connection, "read")
      assert.lengthOf(rig.processes(), 2)
      const [, took] = yield* timed(Scope.close(scope, Exit.void))
      rig.measured("closing the wrapper and its grandchild (grace 200 ms), ms", took)
      assert.deepStrictEqual(rig.processes(), [])
    })
  )

  scenario("is gone when the connection closes right after the wrapper died", (rig) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connection = yield* wrapped(rig, { policy: fast }).pipe(Scope.provide(scope))
      kill(yield* pidOf(connection), "SIGKILL")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(rig.processes(), [])
    })
  )
})
