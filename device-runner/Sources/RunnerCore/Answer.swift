// What a runner sends after the handshake. Results go through as the bytes they were written as.

import Foundation

/// An answer, ready to be sent.
enum Answer {
    case alive
    case progress(id: Int64, done: Int, of: Int, unit: String)
    /// `result` is a JSON object.
    case done(id: Int64, result: Data, replayed: Bool, attempt: Int)
    case failed(id: Int64, Failure, replayed: Bool, attempt: Int)

    private struct Progress: Encodable {
        let type = "progress"
        let id: Int64
        let done: Int
        let of: Int
        let unit: String
    }

    private struct Failed: Encodable {
        let type = "failed"
        let id: Int64
        let code: Code
        let message: String
        let replayed: Bool
        let attempt: Int
    }

    /// The frame's JSON.
    func json() throws -> Data {
        switch self {
        case .alive: return Data(#"{"type":"alive"}"#.utf8)
        case .progress(let id, let done, let of, let unit):
            return try JSONEncoder().encode(Progress(id: id, done: done, of: of, unit: unit))
        case .done(let id, let result, let replayed, let attempt):
            var json = Data(#"{"type":"done","id":\#(id),"result":"#.utf8)
            json.append(result)
            json.append(Data(#","replayed":\#(replayed),"attempt":\#(attempt)}"#.utf8))
            return json
        case .failed(let id, let failure, let replayed, let attempt):
            return try JSONEncoder().encode(
                Failed(
                    id: id, code: failure.code, message: failure.message, replayed: replayed,
                    attempt: attempt))
        }
    }
}
