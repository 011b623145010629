// Control messages: the handshake and requests. PROTOCOL.md defines them.

import Foundation

/// The runner's side of the protocol.
public enum RunnerProtocol {
    /// The version that is spoken.
    public static let version = 1
    /// Name and version of this runner.
    public static let runner = "evalkit-runner 0.1.0"
    /// The environment variable that a runner takes its token from.
    public static let tokenVariable = "EVALKIT_RUNNER_TOKEN"
    /// The largest whole number that every JSON reader keeps exactly.
    static let maxId: Int64 = (1 << 53) - 1
}

/// The client's first frame.
public struct Hello: Codable, Equatable, Sendable {
    /// Always `hello`.
    public let type: String
    /// The protocol that the client speaks.
    public let `protocol`: Int
    /// What the runner was started with.
    public let token: String
    /// The client's name and version.
    public let client: String
}

/// The part of a first frame that is looked at first.
struct HelloVersion: Decodable {
    let type: String
    let `protocol`: Int
}

/// The runner's first frame.
public enum Greeting: Codable, Equatable, Sendable {
    case welcome(protocol: Int, runner: String)
    case refused(protocol: Int, code: Code, message: String)

    private enum Keys: String, CodingKey { case type, `protocol`, runner, code, message }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Keys.self)
        let version = try fields.decode(Int.self, forKey: .protocol)
        switch try fields.decode(String.self, forKey: .type) {
        case "welcome":
            self = .welcome(protocol: version, runner: try fields.decode(String.self, forKey: .runner))
        case "refused":
            self = .refused(
                protocol: version, code: try fields.decode(Code.self, forKey: .code),
                message: try fields.decode(String.self, forKey: .message))
        case let other: throw Failure(.unknownType, "a greeting of type \(other)")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Keys.self)
        switch self {
        case .welcome(let version, let runner):
            try fields.encode("welcome", forKey: .type)
            try fields.encode(version, forKey: .protocol)
            try fields.encode(runner, forKey: .runner)
        case .refused(let version, let code, let message):
            try fields.encode("refused", forKey: .type)
            try fields.encode(version, forKey: .protocol)
            try fields.encode(code, forKey: .code)
            try fields.encode(message, forKey: .message)
        }
    }
}

/// Where a package may compute, as `MLComputeUnits` has it.
public enum ComputeUnits: String, Codable, Sendable, CaseIterable {
    case cpu
    case cpuAndGPU = "cpu_and_gpu"
    case cpuAndNeuralEngine = "cpu_and_neural_engine"
    case all

    /// The units that both allow. The CPU is always one.
    public func narrowed(by other: ComputeUnits) -> ComputeUnits {
        switch (self, other) {
        case (.all, _): other
        case (_, .all): self
        default: self == other ? self : .cpu
        }
    }
}

/// The file that a `put` announces.
public struct Put: Codable, Equatable, Sendable {
    /// The package's name.
    public let package: String
    /// The file.
    public let path: String
    /// Where the chunks begin.
    public let offset_bytes: Int64
    /// Bytes of all chunks, to the file's end.
    public let size_bytes: Int64
}

/// What can be asked of a runner.
public enum Ask: Equatable, Sendable {
    case describe, list, sample, unload, exit
    case have(Manifest)
    case put(Put)
    case commit(package: String)
    case evict(package: String)
    case job(Job)
}

/// A request.
public struct Request: Equatable, Sendable {
    /// Chosen by the client, another for each of a session.
    public let id: Int64
    /// What is asked.
    public let ask: Ask
}

/// The part of a request that is looked at first.
struct RequestHead: Decodable {
    let id: Int64
}

extension Request: Codable {
    enum Keys: String, CodingKey {
        case type, id, manifest, package, functions, job, attempt, prompt, tokens, ids
        case computeUnits = "compute_units"
        case sampleMs = "sample_ms"
        case logitsAt = "logits_at"
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Keys.self)
        id = try fields.decode(Int64.self, forKey: .id)
        let package = { try fields.decode(String.self, forKey: .package) }
        switch try fields.decode(String.self, forKey: .type) {
        case "describe": ask = .describe
        case "list": ask = .list
        case "sample": ask = .sample
        case "unload": ask = .unload
        case "exit": ask = .exit
        case "have": ask = .have(try fields.decode(Manifest.self, forKey: .manifest))
        case "put": ask = .put(try Put(from: decoder))
        case "commit": ask = .commit(package: try package())
        case "evict": ask = .evict(package: try package())
        case "load", "generate", "score", "plan": ask = .job(try Job(from: decoder))
        case let other: throw Failure(.unknownType, "a request of type \"\(other.prefix(64))\"")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Keys.self)
        try fields.encode(id, forKey: .id)
        switch ask {
        case .describe: try fields.encode("describe", forKey: .type)
        case .list: try fields.encode("list", forKey: .type)
        case .sample: try fields.encode("sample", forKey: .type)
        case .unload: try fields.encode("unload", forKey: .type)
        case .exit: try fields.encode("exit", forKey: .type)
        case .have(let manifest):
            try fields.encode("have", forKey: .type)
            try fields.encode(manifest, forKey: .manifest)
        case .put(let put):
            try fields.encode("put", forKey: .type)
            try put.encode(to: encoder)
        case .commit(let package):
            try fields.encode("commit", forKey: .type)
            try fields.encode(package, forKey: .package)
        case .evict(let package):
            try fields.encode("evict", forKey: .type)
            try fields.encode(package, forKey: .package)
        case .job(let job): try job.encode(to: encoder)
        }
    }

    /// Reads a request. A failure says what is wrong, with the request's id where it has one.
    static func read(_ json: Data) throws -> Request {
        let decoder = JSONDecoder()
        guard let head = try? decoder.decode(RequestHead.self, from: json),
            (1...RunnerProtocol.maxId).contains(head.id)
        else {
            throw RefusedRequest(
                id: 0, failure: Failure(.badRequest, "expected an id from 1 to 2^53 - 1"))
        }
        do {
            return try decoder.decode(Request.self, from: json)
        } catch let failure as Failure {
            throw RefusedRequest(id: head.id, failure: failure)
        } catch {
            let what = "the request \(head.id): \(JSONProblem.words(error))"
            throw RefusedRequest(id: head.id, failure: Failure(.badRequest, what))
        }
    }
}

/// A request that could not be read.
struct RefusedRequest: Error {
    let id: Int64
    let failure: Failure
}

/// Decoding errors in a sentence.
enum JSONProblem {
    static func words(_ error: any Error) -> String {
        switch error as? DecodingError {
        case .keyNotFound(let key, _): "the field \(key.stringValue) is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            "the field \(path(context)) is of another type"
        case .dataCorrupted(let context): "the field \(path(context)) cannot be read"
        default: "it cannot be read"
        }
    }

    private static func path(_ context: DecodingError.Context) -> String {
        context.codingPath.map(\.stringValue).joined(separator: ".")
    }
}
