// Does the work of jobs with the engine: one at a time, on a thread of its own.

import Foundation

/// The engine and what is loaded. Used by one thread at a time, but for `loaded`.
final class Worker: @unchecked Sendable {
    let engine: any Engine
    let probe: any Probe
    private let store: Store
    private let journal: Journal
    private let device: Device
    private var model: (any LoadedModel)?
    private let lock = NSLock()
    private var loadedName: String?

    init(engine: any Engine, probe: any Probe, store: Store, journal: Journal) {
        self.engine = engine
        self.probe = probe
        self.store = store
        self.journal = journal
        device = probe.device()
    }

    /// The package that is loaded, as any thread may ask.
    var loaded: String? { lock.withLock { loadedName } }

    /// Forgets the loaded package.
    func unload() {
        model = nil
        lock.withLock { loadedName = nil }
    }

    /// Figures now, counted from a moment.
    func figures(from start: Moment) -> Figures {
        var figures = probe.figures()
        figures.at_ms = start.elapsedMs
        return figures
    }

    /// What the runner is.
    func description(from start: Moment?) -> Description {
        let identity = engine.identity
        let now = figures(from: start ?? .now)
        var limit: Int64?
        if let used = now.footprint_bytes, let free = now.available_bytes { limit = used + free }
        return Description(
            runner: RunnerProtocol.runner, engine: identity.engine, runtime: identity.runtime,
            simulated: identity.simulated, device: probe.device(), free_bytes: store.freeBytes,
            memory_limit_bytes: limit, compute_units: identity.computeUnits, figures: now)
    }

    /// What can be refused before an attempt starts, so that it is in no journal.
    func check(_ job: Job) throws {
        switch job.work {
        case .load(let package, let units, _, _), .plan(let package, let units):
            guard engine.identity.computeUnits.contains(units) else {
                throw Failure(.unsupported, "this runner cannot compute with \(units.rawValue)")
            }
            guard store.isInPlace(package) else { throw Failure(.notFound, "no package \(package)") }
        case .generate(let prompt, let tokens, _):
            let shape = try self.shape(for: prompt)
            guard prompt.count <= shape.contextTokens, tokens <= shape.contextTokens - prompt.count
            else {
                throw Failure(
                    .tooLarge,
                    "the cache holds \(shape.contextTokens) tokens, asked for \(prompt.count) and \(tokens) more"
                )
            }
        case .score(let ids, let logitsAt):
            let shape = try self.shape(for: ids)
            guard ids.count <= shape.contextTokens else {
                throw Failure(
                    .tooLarge, "the cache holds \(shape.contextTokens) tokens, found \(ids.count)")
            }
            guard logitsAt.isEmpty || shape.vocabSize <= Limits.logitsTokens else {
                throw Failure(
                    .tooLarge, "logits of \(shape.vocabSize) tokens do not fit into a frame")
            }
        }
    }

    private func shape(for ids: [UInt32]) throws -> ModelShape {
        guard let model else { throw Failure(.notLoaded, "nothing is loaded") }
        if let id = ids.first(where: { Int($0) >= model.shape.vocabSize }) {
            throw Failure(
                .badRequest, "expected token ids below \(model.shape.vocabSize), found \(id)")
        }
        return model.shape
    }

    /// Does a job that was asked for at `start`; its result as JSON.
    func run(
        _ job: Job, from start: Moment, progress: @escaping (Int, Int, String) -> Void
    ) throws -> Data {
        let result =
            switch job.work {
            case .load(let package, let units, let functions, _):
                try load(job, package, units, functions.isEmpty ? ModelFunction.allCases : functions)
            case .generate(let prompt, let tokens, _):
                try generate(job, prompt, tokens, from: start, progress)
            case .score(let ids, let logitsAt): try score(job, ids, logitsAt, progress)
            case .plan(let package, let units): try plan(package, units)
            }
        guard result.count <= Limits.frameBytes - 256 else {
            throw Failure(.tooLarge, "a result of \(result.count) bytes does not fit into a frame")
        }
        return result
    }

    /// The system's version: with another one, compiled files are others.
    private var system: String { device.os_build ?? device.os }

    private func load(
        _ job: Job, _ package: String, _ units: ComputeUnits, _ functions: [ModelFunction]
    ) throws -> Data {
        unload()
        let place = try store.place(package, system: system)
        let start = Moment.now
        let before = figures(from: start)
        let sampler = Sampler(probe, from: start, everyMs: job.sampleMs)
        let result = Result {
            let began = Moment.now
            var compileMs: Double?
            let model = try autoreleasepool {
                try engine.load(place, units: units, functions: functions) {
                    compileMs = (compileMs ?? 0) + $0
                }
            }
            return (model, began.elapsedMs - (compileMs ?? 0), compileMs)
        }
        let samples = sampler.stop()
        let (model, loadMs, compileMs) = try result.get()
        let shape = model.shape
        guard shape.contextTokens >= 1, shape.vocabSize >= 1, shape.prefillTokens >= 1 else {
            throw Failure(.engine, "a model without context or vocabulary")
        }
        self.model = model
        lock.withLock { loadedName = package }
        return try JSONEncoder().encode(
            Loaded(
                load_ms: loadMs, compile_ms: compileMs,
                first: try store.isFirstLoad(package, units, functions, system: system),
                functions: shape.functions.map(\.rawValue), context_tokens: shape.contextTokens,
                prefill_tokens: shape.prefillTokens, vocab_size: shape.vocabSize,
                before: before, after: figures(from: start), samples: samples))
    }

    private func generate(
        _ job: Job, _ prompt: [UInt32], _ tokens: Int, from start: Moment,
        _ progress: (Int, Int, String) -> Void
    ) throws -> Data {
        guard let model else { throw Failure(.notLoaded, "nothing is loaded") }
        let before = figures(from: start)
        let sampler = Sampler(probe, from: start, everyMs: job.sampleMs)
        var ids: [UInt32] = []
        var chosen: [Moment] = []
        ids.reserveCapacity(tokens)
        chosen.reserveCapacity(tokens)
        let result = Result {
            var conversation = try Conversation(model)
            let choose = { (logits: UnsafeBufferPointer<Float>) in
                ids.append(try Logits.greedy(logits))
                chosen.append(.now)
            }
            try conversation.prefill(prompt, wantsAll: false) { try choose($1) }
            while ids.count < tokens, let last = ids.last {
                progress(ids.count, tokens, "tokens")
                try conversation.decode(last, row: choose)
            }
        }
        let samples = sampler.stop()
        try result.get()
        guard let first = chosen.first, ids.count == tokens else {
            throw Failure(.engine, "the model gives no logits")
        }
        return try JSONEncoder().encode(
            Generated(
                prompt_tokens: prompt.count, ids: ids, ttft_ms: start.ms(to: first),
                token_ms: zip(chosen, chosen.dropFirst()).map { $0.ms(to: $1) },
                before: before, after: figures(from: start), samples: samples))
    }

    private func score(
        _ job: Job, _ ids: [UInt32], _ logitsAt: [UInt32], _ progress: (Int, Int, String) -> Void
    ) throws -> Data {
        guard let model else { throw Failure(.notLoaded, "nothing is loaded") }
        let wanted = Set(logitsAt)
        let file = logitsAt.isEmpty ? nil : try journal.logitsWriter(job.job)
        var nll: [Double] = []
        var conversation = try Conversation(model)
        try conversation.prefill(ids, wantsAll: true) { index, logits in
            if index + 1 < ids.count { nll.append(try Logits.nll(logits, ids[index + 1])) }
            let position = UInt32(index)
            if wanted.contains(position), let file {
                let payload = LogitsPayload.encoded(position: position, values: Array(logits))
                var head = Data()
                withUnsafeBytes(of: UInt32(payload.count).littleEndian) {
                    head.append(contentsOf: $0)
                }
                try file.write(head + payload)
            }
            progress(index + 1, ids.count, "tokens")
        }
        try file?.sync()
        guard nll.count == ids.count - 1 else {
            throw Failure(.engine, "\(nll.count) logits for \(ids.count) tokens")
        }
        return try JSONEncoder().encode(
            Scored(nll_nats: nll, positions: logitsAt, vocab_size: model.shape.vocabSize))
    }

    private func plan(_ package: String, _ units: ComputeUnits) throws -> Data {
        let place = try store.place(package, system: system)
        return try JSONEncoder().encode(
            try autoreleasepool { try engine.plan(place, units: units) })
    }
}
