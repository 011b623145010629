// Frames: a length, a kind, a payload. Lengths are bounded before anything is allocated.

import Foundation

/// The protocol's bounds.
public enum Limits {
    /// The most bytes that a frame's length may state (kind and payload).
    public static let frameBytes = 4 << 20
    /// The same before the handshake is over.
    public static let greetingBytes = 4096
    /// The most bytes of a file in one chunk.
    public static let chunkBytes = 1 << 20
    /// The most objects and lists within one another in a control frame.
    public static let depth = 16
    /// The most tokens whose logits fit into a frame.
    public static let logitsTokens = 1_048_574
    /// The most figures of one job; so many fit into a frame.
    public static let figures = 10_000
    /// Finished jobs that the journal keeps.
    public static let jobs = 1_000
}

/// One frame.
public enum Frame: Equatable, Sendable {
    /// A JSON object as its bytes; nesting and syntax are checked, content is not.
    case control(Data)
    /// Bytes of a file.
    case chunk(Data)
    /// Logits after the token at a position, `[vocabulary]`.
    case logits(position: UInt32, values: [Float])

    fileprivate static let controlKind: UInt8 = 1
    fileprivate static let chunkKind: UInt8 = 2
    fileprivate static let logitsKind: UInt8 = 3

    /// The frame as it is sent. Fails (`too_large`) where it is longer than a frame may be.
    public func encoded() throws -> Data {
        switch self {
        case .control(let json): return try Self.assembled(Self.controlKind, json)
        case .chunk(let bytes): return try Self.assembled(Self.chunkKind, bytes)
        case .logits(let position, let values):
            return try Self.assembled(
                Self.logitsKind, LogitsPayload.encoded(position: position, values: values))
        }
    }

    /// A frame of kind 3 from a payload that was encoded before.
    static func logitsFrame(_ payload: Data) throws -> Data {
        try assembled(logitsKind, payload)
    }

    private static func assembled(_ kind: UInt8, _ payload: Data) throws -> Data {
        let bytes = payload.count + 1
        let most = kind == chunkKind ? Limits.chunkBytes + 1 : Limits.frameBytes
        guard bytes <= most else {
            throw Failure(.tooLarge, "a frame of \(bytes) bytes: expected at most \(most)")
        }
        var frame = Data(capacity: bytes + 4)
        withUnsafeBytes(of: UInt32(bytes).littleEndian) { frame.append(contentsOf: $0) }
        frame.append(kind)
        frame.append(payload)
        return frame
    }
}

/// The payload of frames of kind 3.
enum LogitsPayload {
    /// Position, then one number per token, all little endian.
    static func encoded(position: UInt32, values: [Float]) -> Data {
        var payload = Data(capacity: 4 + values.count * 4)
        withUnsafeBytes(of: position.littleEndian) { payload.append(contentsOf: $0) }
        let bits = values.map { $0.bitPattern.littleEndian }
        bits.withUnsafeBytes { payload.append(contentsOf: $0) }
        return payload
    }

    /// Reads what `encoded` wrote.
    static func frame(_ payload: Data) throws -> Frame {
        guard payload.count >= 4, payload.count % 4 == 0 else {
            throw Failure(.badFrame, "logits of \(payload.count) bytes: expected whole numbers")
        }
        let words = payload.withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: 4).map { at in
                UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
            }
        }
        return .logits(
            position: words.first ?? 0, values: words.dropFirst().map { Float(bitPattern: $0) })
    }
}

/// Where frames are read from.
public protocol ByteSource {
    /// Fills `buffer`; false where the stream ended before its first byte. Fails with
    /// `StreamEnded` where it ended later. Within a frame no byte may be long in coming.
    func fill(_ buffer: UnsafeMutableRawBufferPointer, isWithinFrame: Bool) throws -> Bool
}

/// A stream that ended within a frame, broke, or kept silent for too long.
public struct StreamEnded: Error, Sendable {
    /// What happened.
    public let what: String

    public init(what: String) { self.what = what }
}

/// Reads frames from a stream.
public struct FrameReader<Source: ByteSource> {
    /// The stream.
    let source: Source

    public init(_ source: Source) { self.source = source }

    /// The next frame; nothing where the stream ended before it.
    public func next(maxBytes: Int) throws -> Frame? {
        var head: (UInt32, UInt8) = (0, 0)
        var raw = [UInt8](repeating: 0, count: 5)
        guard try raw.withUnsafeMutableBytes({ try source.fill($0, isWithinFrame: false) }) else { return nil }
        head.0 = raw.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self)) }
        head.1 = raw[4]
        let (length, kind) = (Int(head.0), head.1)
        guard length >= 1, length <= maxBytes else {
            throw Failure(.badFrame, "a frame of \(length) bytes: expected 1 to \(maxBytes)")
        }
        guard (Frame.controlKind...Frame.logitsKind).contains(kind) else {
            throw Failure(.badFrame, "a frame of kind \(kind): expected 1, 2 or 3")
        }
        if kind == Frame.chunkKind, !(2...Limits.chunkBytes + 1).contains(length) {
            throw Failure(
                .badFrame, "a chunk of \(length - 1) bytes: expected 1 to \(Limits.chunkBytes)")
        }
        var payload = Data(count: length - 1)
        if length > 1 {
            guard try payload.withUnsafeMutableBytes({ try source.fill($0, isWithinFrame: true) }) else {
                throw StreamEnded(what: "the stream ended within a frame")
            }
        }
        switch kind {
        case Frame.controlKind:
            try JSONShape.check(payload)
            return .control(payload)
        case Frame.chunkKind: return .chunk(payload)
        default: return try LogitsPayload.frame(payload)
        }
    }
}

/// What a control frame must be before a parser sees it.
enum JSONShape {
    /// Bounds the nesting first, then wants an object in UTF-8.
    static func check(_ json: Data) throws {
        var depth = 0
        var isQuoted = false
        var isEscaped = false
        for byte in json {
            if isEscaped {
                isEscaped = false
            } else if isQuoted {
                if byte == UInt8(ascii: "\\") { isEscaped = true }
                if byte == UInt8(ascii: "\"") { isQuoted = false }
            } else {
                switch byte {
                case UInt8(ascii: "\""): isQuoted = true
                case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
                default: break
                }
                guard depth <= Limits.depth else {
                    throw Failure(
                        .badFrame, "a control frame nested deeper than \(Limits.depth)")
                }
            }
        }
        guard String(validating: json, as: UTF8.self) != nil else {
            throw Failure(.badFrame, "a control frame that is not UTF-8")
        }
        guard (try? JSONSerialization.jsonObject(with: json)) is [String: Any] else {
            throw Failure(.badFrame, "a control frame that is not a JSON object")
        }
    }
}
