// Why the runner refuses: a code of the protocol and a sentence.

/// The protocol's failure codes.
public enum Code: String, Codable, Sendable {
    case version, token, busy
    case badFrame = "bad_frame"
    case badRequest = "bad_request"
    case unknownType = "unknown_type"
    case badName = "bad_name"
    case tooLarge = "too_large"
    case noSpace = "no_space"
    case hash, incomplete
    case notFound = "not_found"
    case notLoaded = "not_loaded"
    case interrupted, unsupported
    case outOfMemory = "out_of_memory"
    case io, engine
}

/// A request that gives no result.
public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// The protocol's code.
    public let code: Code
    /// What, expected and found, in a sentence.
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code.rawValue): \(message)" }

    /// Any error as one of the protocol's; `otherwise` where it is none yet.
    public static func from(_ error: any Error, otherwise: Code) -> Failure {
        (error as? Failure) ?? Failure(otherwise, "\(error)")
    }
}
