// Work that is journaled: load, generate, score, plan.

import Foundation

/// A job as it was asked for.
public struct Job: Equatable, Sendable {
    /// What is to be done.
    public enum Work: Equatable, Sendable {
        /// Of the functions, all if there are none.
        case load(package: String, units: ComputeUnits, functions: [ModelFunction], sampleMs: Int)
        case generate(prompt: [UInt32], tokens: Int, sampleMs: Int)
        case score(ids: [UInt32], logitsAt: [UInt32])
        case plan(package: String, units: ComputeUnits)
    }

    /// 32 hexadecimal digits that the client drew.
    public let job: String
    /// From 1.
    public let attempt: Int
    /// What is to be done.
    public let work: Work

    public init(job: String, attempt: Int, work: Work) {
        self.job = job
        self.attempt = attempt
        self.work = work
    }

    /// The interval of figures; 0 for none.
    var sampleMs: Int {
        switch work {
        case .load(_, _, _, let ms), .generate(_, _, let ms): ms
        case .score, .plan: 0
        }
    }

    /// A hash of everything but the attempt: two requests with the same are the same job.
    func fingerprint() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return Hash.of(try encoder.encode(Job(job: job, attempt: 1, work: work)))
    }

    /// Fails (`bad_request`) where a field is out of its bounds.
    func check() throws {
        guard Hex.isDigits(job, count: 32) else {
            throw Failure(.badRequest, "job: expected 32 hexadecimal digits, no capitals")
        }
        guard (1...Int(UInt32.max)).contains(attempt) else {
            throw Failure(.badRequest, "attempt: expected 1 or more, found \(attempt)")
        }
        guard sampleMs == 0 || (50...Int(UInt32.max)).contains(sampleMs) else {
            throw Failure(.badRequest, "sample_ms: expected 0, or 50 and more, found \(sampleMs)")
        }
        switch work {
        case .load(let package, _, let functions, _):
            try Self.check(package)
            guard functions.isEmpty || functions.contains(.decode),
                Set(functions).count == functions.count
            else {
                throw Failure(
                    .badRequest, "functions: expected \"decode\", alone or with \"prefill\"")
            }
        case .plan(let package, _): try Self.check(package)
        case .generate(let prompt, let tokens, _):
            guard !prompt.isEmpty, tokens >= 1 else {
                throw Failure(.badRequest, "expected a prompt, and 1 token or more to produce")
            }
        case .score(let ids, let logitsAt):
            guard !ids.isEmpty else { throw Failure(.badRequest, "ids: expected 1 or more") }
            guard zip(logitsAt, logitsAt.dropFirst()).allSatisfy({ $0 < $1 }),
                logitsAt.allSatisfy({ Int($0) < ids.count })
            else {
                throw Failure(
                    .badRequest, "logits_at: expected ascending positions below \(ids.count)")
            }
        }
    }

    private static func check(_ package: String) throws {
        guard Hex.isDigits(package, count: 64) else {
            throw Failure(.badRequest, "package: expected 64 hexadecimal digits")
        }
    }
}

extension Job: Codable {
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Request.Keys.self)
        job = try fields.decode(String.self, forKey: .job)
        attempt = try fields.decode(Int.self, forKey: .attempt)
        let sampleMs = { try fields.decodeIfPresent(Int.self, forKey: .sampleMs) ?? 0 }
        let package = { try fields.decode(String.self, forKey: .package) }
        let units = { try fields.decode(ComputeUnits.self, forKey: .computeUnits) }
        switch try fields.decode(String.self, forKey: .type) {
        case "load":
            work = .load(
                package: try package(), units: try units(),
                functions: try fields.decodeIfPresent([ModelFunction].self, forKey: .functions) ?? [],
                sampleMs: try sampleMs())
        case "generate":
            work = .generate(
                prompt: try fields.decode([UInt32].self, forKey: .prompt),
                tokens: try fields.decode(Int.self, forKey: .tokens), sampleMs: try sampleMs())
        case "score":
            work = .score(
                ids: try fields.decode([UInt32].self, forKey: .ids),
                logitsAt: try fields.decodeIfPresent([UInt32].self, forKey: .logitsAt) ?? [])
        case "plan": work = .plan(package: try package(), units: try units())
        case let other: throw Failure(.unknownType, "a job of type \"\(other.prefix(64))\"")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Request.Keys.self)
        try fields.encode(job, forKey: .job)
        try fields.encode(attempt, forKey: .attempt)
        switch work {
        case .load(let package, let units, let functions, let sampleMs):
            try fields.encode("load", forKey: .type)
            try fields.encode(package, forKey: .package)
            try fields.encode(units, forKey: .computeUnits)
            if !functions.isEmpty { try fields.encode(functions, forKey: .functions) }
            try fields.encode(sampleMs, forKey: .sampleMs)
        case .generate(let prompt, let tokens, let sampleMs):
            try fields.encode("generate", forKey: .type)
            try fields.encode(prompt, forKey: .prompt)
            try fields.encode(tokens, forKey: .tokens)
            try fields.encode(sampleMs, forKey: .sampleMs)
        case .score(let ids, let logitsAt):
            try fields.encode("score", forKey: .type)
            try fields.encode(ids, forKey: .ids)
            try fields.encode(logitsAt, forKey: .logitsAt)
        case .plan(let package, let units):
            try fields.encode("plan", forKey: .type)
            try fields.encode(package, forKey: .package)
            try fields.encode(units, forKey: .computeUnits)
        }
    }
}
