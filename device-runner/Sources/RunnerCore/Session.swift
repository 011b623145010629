// One client: requests in, answers out, one at a time.

import Foundation

/// A session after its handshake. One thread runs it; another reads ahead, a third says `alive`.
final class Session: @unchecked Sendable {
    private let server: Server
    private let stream: ByteStream
    private var transfers: [String: Transfer] = [:]
    /// Whether chunks still belong to a `put` that was refused.
    private var dropsChunks = false

    private var jobs: Jobs { server.jobs }
    private var store: Store { server.store }

    init(_ server: Server, _ stream: ByteStream) {
        self.server = server
        self.stream = stream
    }

    /// Answers until the stream ends.
    func run() {
        let inbox = Inbox { [jobs] in jobs.running?.nudge() }
        Thread.start { [stream] in inbox.read(stream) }
        let heart = Heart(stream) { inbox.end() }
        defer {
            heart.stop()
            inbox.end()
            stream.shutDown()
        }
        do {
            while try autoreleasepool(invoking: { try handle(inbox.next(), inbox) }) {}
        } catch let failure as Failure {
            try? send(.failed(id: 0, failure, replayed: false, attempt: 1))
            heart.stop()
            inbox.end()
            stream.drain()
        } catch {
            // The client is gone.
        }
    }

    /// Takes one item; false at the stream's end. Fails with `bad_frame`, after which nothing can
    /// be read, or where the stream broke.
    private func handle(_ item: Inbox.Item, _ inbox: Inbox) throws -> Bool {
        switch item {
        case .ended: return false
        case .bad(let failure): throw failure
        case .frame(.chunk, _):
            guard dropsChunks else { throw Failure(.badFrame, "a chunk that no put announced") }
        case .frame(.logits, _): throw Failure(.badFrame, "logits from a client")
        case .frame(.control(let json), let arrival):
            dropsChunks = false
            do {
                try answer(try Request.read(json), arrival, inbox)
            } catch let refused as RefusedRequest {
                try send(.failed(id: refused.id, refused.failure, replayed: false, attempt: 1))
            }
        }
        return true
    }

    private func answer(_ request: Request, _ arrival: Moment, _ inbox: Inbox) throws {
        let id = request.id
        switch request.ask {
        case .job(let job): try answer(job, id, arrival, inbox)
        case .put(let put): try receive(put, id, inbox)
        default:
            let result = Result { try plainResult(request.ask) }
            switch result {
            case .success(let json):
                try send(.done(id: id, result: json, replayed: false, attempt: 1))
                if case .exit = request.ask { server.options.onExit?() }
            case .failure(let error):
                let failure = Failure.from(error, otherwise: .io)
                try send(.failed(id: id, failure, replayed: false, attempt: 1))
            }
        }
    }

    /// The result of a request that is neither a job nor a `put`.
    private func plainResult(_ ask: Ask) throws -> Data {
        let encoder = JSONEncoder()
        let worker = jobs.worker
        switch ask {
        case .describe:
            return try encoder.encode(worker.description(from: jobs.running?.start))
        case .sample:
            return try encoder.encode(worker.figures(from: jobs.running?.start ?? .now))
        case .list:
            return try jobs.atRest { try encoder.encode(store.list(loaded: worker.loaded)) }
        case .have(let manifest):
            return try jobs.atRest {
                let transfer = try Transfer(manifest, store: store)
                let held = try transfer.held(loaded: worker.loaded)
                transfers[transfer.package] = transfer
                return try encoder.encode(held)
            }
        case .commit(let package), .evict(let package):
            guard Hex.isDigits(package, count: 64) else {
                throw Failure(.badRequest, "package: expected 64 hexadecimal digits")
            }
            return try ask == .commit(package: package) ? commit(package) : evict(package)
        case .unload:
            try jobs.atRest { worker.unload() }
        case .exit:
            try jobs.atRest {
                guard server.options.onExit != nil else {
                    throw Failure(.unsupported, "an app is ended by its user")
                }
            }
        case .put, .job: break
        }
        return Data("{}".utf8)
    }

    private func commit(_ package: String) throws -> Data {
        try jobs.atRest {
            if let transfer = transfers[package] {
                try transfer.commit()
            } else if !store.isInPlace(package) {
                throw Failure(.badRequest, "no \"have\" of this session named \(package)")
            }
            return Data(#"{"package":"\#(package)"}"#.utf8)
        }
    }

    private func evict(_ package: String) throws -> Data {
        try jobs.atRest {
            guard jobs.worker.loaded != package else {
                throw Failure(.busy, "\(package) is loaded: unload it first")
            }
            let freed = try store.evict(package)
            transfers[package] = nil
            return Data(#"{"freed_bytes":\#(freed)}"#.utf8)
        }
    }

    /// Receives the chunks of a file.
    private func receive(_ put: Put, _ id: Int64, _ inbox: Inbox) throws {
        do {
            guard let transfer = transfers[put.package] else {
                throw Failure(.badRequest, "no \"have\" of this session named \(put.package.prefix(64))")
            }
            if let job = jobs.running { throw Failure(.busy, "the job \(job.key) runs") }
            var upload = try transfer.begin(put)
            while upload.missingBytes > 0 {
                let chunk = try nextChunk(inbox, most: upload.missingBytes)
                try upload.take(chunk)
                server.options.onEvent(
                    .receiving(
                        path: put.path, doneBytes: upload.bytes, ofBytes: upload.file.size_bytes))
            }
            try transfer.finish(upload)
        } catch let failure as Failure where failure.code != .badFrame {
            dropsChunks = true
            return try send(.failed(id: id, failure, replayed: false, attempt: 1))
        }
        let held = Held.Received(path: put.path, size_bytes: put.offset_bytes + put.size_bytes)
        try send(
            .done(id: id, result: try JSONEncoder().encode(held), replayed: false, attempt: 1))
    }

    private func nextChunk(_ inbox: Inbox, most: Int64) throws -> Data {
        switch inbox.next(within: 10) {
        case .frame(.chunk(let bytes), _):
            guard Int64(bytes.count) <= most else {
                throw Failure(.badRequest, "more bytes than the put announced")
            }
            return bytes
        case .frame: throw Failure(.badFrame, "expected a chunk of the put")
        case .bad(let failure): throw failure
        case .ended: throw StreamEnded(what: "the put was cut")
        }
    }

    /// Starts a job or finds it, and answers when it ends.
    private func answer(_ job: Job, _ id: Int64, _ arrival: Moment, _ inbox: Inbox) throws {
        let outcome: Jobs.Outcome
        do { outcome = try jobs.ask(job, at: arrival) } catch {
            let failure = Failure.from(error, otherwise: .io)
            return try send(.failed(id: id, failure, replayed: false, attempt: job.attempt))
        }
        switch outcome {
        case .interrupted(let attempt):
            let failure = Failure(.interrupted, "the runner ended while attempt \(attempt) ran")
            try send(.failed(id: id, failure, replayed: true, attempt: attempt))
        case .replayed(.failed(let failure), let attempt):
            try send(.failed(id: id, failure, replayed: true, attempt: attempt))
        case .replayed(.done, let attempt):
            try sendDone(job, id, replayed: true, attempt: attempt)
        case .running(let running):
            guard let end = try wait(for: running, id, inbox) else {
                throw StreamEnded(what: "the client left")
            }
            switch end {
            case .success: try sendDone(job, id, replayed: false, attempt: running.attempt)
            case .failure(let failure):
                try send(.failed(id: id, failure, replayed: false, attempt: running.attempt))
            }
        }
    }

    /// How a job ended; nothing where the client left before.
    private func wait(
        for running: RunningJob, _ id: Int64, _ inbox: Inbox
    ) throws -> Result<Data, Failure>? {
        var said = 0
        while true {
            if let end = running.wait(0.25, unless: { inbox.hasEnded }) { return end }
            if inbox.hasEnded { return nil }
            if let now = running.progress, now.done > said {
                said = now.done
                try send(.progress(id: id, done: now.done, of: now.of, unit: now.unit))
            }
        }
    }

    private func sendDone(_ job: Job, _ id: Int64, replayed: Bool, attempt: Int) throws {
        let key = job.job
        do {
            let result = try jobs.journal.result(key)
            try jobs.journal.eachLogits(key) { try stream.send(try Frame.logitsFrame($0)) }
            try send(.done(id: id, result: result, replayed: replayed, attempt: attempt))
        } catch let failure as Failure {
            try send(.failed(id: id, failure, replayed: replayed, attempt: attempt))
        }
    }

    private func send(_ answer: Answer) throws {
        try stream.send(try Frame.control(try answer.json()).encoded())
    }
}

extension Held {
    /// The result of a `put`.
    struct Received: Codable {
        let path: String
        let size_bytes: Int64
    }
}

/// Says `alive` once a second, and notices that nobody hears it.
final class Heart: @unchecked Sendable {
    private let condition = NSCondition()
    private var isStopped = false

    init(_ stream: ByteStream, onFailure: @escaping @Sendable () -> Void) {
        Thread.start { [self] in
            let due = Moment.now
            var beats = 0
            while true {
                beats += 1
                guard wait(until: due.advanced(by: .seconds(beats))) else { return }
                do {
                    try stream.send(try Frame.control(try Answer.alive.json()).encoded())
                } catch {
                    stream.shutDown()
                    return onFailure()
                }
            }
        }
    }

    func stop() {
        condition.withLock {
            isStopped = true
            condition.broadcast()
        }
    }

    private func wait(until due: Moment) -> Bool {
        condition.withLock {
            while !isStopped {
                let left = Moment.now.duration(to: due).inMs
                if left <= 0 { return true }
                _ = condition.wait(until: Date(timeIntervalSinceNow: left / 1e3))
            }
            return false
        }
    }
}
