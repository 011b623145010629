// Listens on 127.0.0.1, greets, and has one session at a time. Jobs go on between sessions.

import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

/// A runner: engine, store, and whoever asks.
public final class Server: @unchecked Sendable {
    /// How a runner behaves.
    public struct Options: Sendable {
        /// 32 hexadecimal digits that a client must know.
        public var token: String
        /// Called after `exit` was answered; without it `exit` is `unsupported`.
        public var onExit: (@Sendable () -> Void)?
        /// Told what happens, on any thread.
        public var onEvent: @Sendable (RunnerEvent) -> Void = { _ in }
        /// Seconds within which a client must greet.
        public var greetingSeconds = 3.0

        /// Fails where `token` is none.
        public init(token: String) throws {
            guard Hex.isDigits(token, count: 32, capitals: true) else {
                throw Failure(
                    .badRequest, "expected a token of 32 hexadecimal digits, found \(token.utf8.count) bytes")
            }
            self.token = token
        }
    }

    /// Connections that may wait for their greeting at a time. For the next one the oldest makes room that has
    /// sent nothing, or else the oldest.
    private static let maxGreeting = 16

    let store: Store
    let jobs: Jobs
    let options: Options
    private let lock = NSLock()
    private var hasSession = false
    /// Connections that have not greeted, the oldest first.
    private var greeting: [ByteStream] = []
    /// Changes when listening stops or begins anew.
    private var generation = 0
    private var listenerEnded: DispatchSemaphore?

    public init(
        engine: any Engine, probe: any Probe, store: Store, options: Options
    ) throws {
        self.store = store
        self.options = options
        let journal = try Journal(root: store.root)
        let worker = Worker(engine: engine, probe: probe, store: store, journal: journal)
        jobs = Jobs(worker: worker, journal: journal, watch: options.onEvent)
    }

    /// Listens on a port of 127.0.0.1, 0 for any; the port. Ends an earlier listener first.
    @discardableResult
    public func listen(port: UInt16) throws -> UInt16 {
        stopListening()
        let (descriptor, port) = try Sockets.listen(port: port)
        let ended = DispatchSemaphore(value: 0)
        let own = lock.withLock {
            generation += 1
            listenerEnded = ended
            return generation
        }
        Thread.start { [self] in
            acceptAll(descriptor, port: port, generation: own)
            ended.signal()
        }
        options.onEvent(.listening(port: port))
        return port
    }

    /// Ends the listener and waits for that; sessions and jobs go on.
    public func stopListening() {
        let ended = lock.withLock {
            generation += 1
            defer { listenerEnded = nil }
            return listenerEnded
        }
        ended?.wait()
    }

    /// Serves one stream, such as standard input and output, until it ends.
    public func serve(_ stream: ByteStream) { greet(stream) }

    /// Accepts until listening is stopped. A listener that died, as all do when iOS suspends the
    /// app, is replaced on the same port.
    private func acceptAll(_ first: Int32, port: UInt16, generation own: Int) {
        var listener: Int32? = first
        while lock.withLock({ generation == own }) {
            guard let open = listener else {
                usleep(200_000)
                listener = try? Sockets.listen(port: port).descriptor
                if listener != nil { options.onEvent(.listening(port: port)) }
                continue
            }
            switch Sockets.accept(open) {
            case .connection(let socket): receive(socket)
            case .nothing: break
            case .dead(let why):
                close(open)
                listener = nil
                options.onEvent(.stoppedListening(why))
            }
        }
        if let listener { close(listener) }
    }

    private func receive(_ socket: Int32) {
        let stream = ByteStream(socket: socket)
        let closed: ByteStream? = lock.withLock {
            let isFull = greeting.count >= Self.maxGreeting
            let silent = isFull ? greeting.firstIndex { !$0.hasUnread } : nil
            let closed = isFull ? greeting.remove(at: silent ?? 0) : nil
            greeting.append(stream)
            return closed
        }
        closed?.shutDown()
        Thread.start { [self] in
            greet(stream) { lock.withLock { greeting.removeAll { $0 === stream } } }
        }
    }

    /// The handshake, then the session.
    private func greet(_ stream: ByteStream, greeted: () -> Void = {}) {
        // Whoever does not know the token keeps its place to the end.
        defer { greeted() }
        do {
            let client = try readHello(stream)
            greeted()
            guard lock.withLock({ takeSession() }) else {
                throw Failure(.busy, "another client is connected")
            }
            defer { lock.withLock { hasSession = false } }
            try send(.welcome(protocol: RunnerProtocol.version, runner: RunnerProtocol.runner), stream)
            options.onEvent(.connected(client: client))
            defer { options.onEvent(.disconnected) }
            Session(self, stream).run()
        } catch let failure as Failure {
            options.onEvent(.refused(failure.code))
            try? send(
                .refused(
                    protocol: RunnerProtocol.version, code: failure.code, message: failure.message),
                stream)
            stream.drain()
        } catch {
            // A client that went away is told nothing.
        }
    }

    /// Whether a session is on.
    var hasSessionForTests: Bool { lock.withLock { hasSession } }

    private func takeSession() -> Bool {
        guard !hasSession else { return false }
        hasSession = true
        return true
    }

    private func send(_ greeting: Greeting, _ stream: ByteStream) throws {
        try stream.send(try Frame.control(try JSONEncoder().encode(greeting)).encoded())
    }

    /// The client's name, once it has spoken the right protocol and token.
    private func readHello(_ stream: ByteStream) throws -> String {
        stream.setDeadline(options.greetingSeconds)
        defer { stream.setDeadline(nil) }
        guard let frame = try FrameReader(stream).next(maxBytes: Limits.greetingBytes) else {
            throw StreamEnded(what: "no greeting")
        }
        guard case .control(let json) = frame else {
            throw Failure(.badFrame, "expected a hello, found bytes")
        }
        let decoder = JSONDecoder()
        guard let version = try? decoder.decode(HelloVersion.self, from: json),
            version.type == "hello"
        else { throw Failure(.badRequest, "expected a hello with the protocol's version") }
        guard version.protocol == RunnerProtocol.version else {
            throw Failure(
                .version,
                "expected protocol \(RunnerProtocol.version), found \(version.protocol)")
        }
        guard let hello = try? decoder.decode(Hello.self, from: json) else {
            throw Failure(.badRequest, "expected a hello with token and client")
        }
        guard Self.isSame(hello.token, options.token) else {
            throw Failure(.token, "another token than this runner was started with")
        }
        return String(hello.client.prefix(128))
    }

    /// Compares in a time that depends on the lengths alone.
    static func isSame(_ given: String, _ token: String) -> Bool {
        let (given, token) = (Array(given.utf8), Array(token.utf8))
        var difference = given.count ^ token.count
        for index in token.indices {
            difference |= Int(token[index] ^ (index < given.count ? given[index] : 0))
        }
        return difference == 0
    }
}
