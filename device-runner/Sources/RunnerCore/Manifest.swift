// What is sent to a runner: files by path, size and hash, and one name for all of them.

import Foundation

/// The files of a package.
public struct Manifest: Codable, Equatable, Sendable {
    /// The most files that a package may have.
    static let maxFiles = 65_536
    /// The most bytes of a file: 2^53 - 1, which every JSON reader keeps exactly.
    static let maxFileBytes: Int64 = (1 << 53) - 1

    /// A file of a package.
    public struct File: Codable, Equatable, Sendable {
        /// Where it lies in the folder; parts separated by `/`.
        public let path: String
        /// Its size.
        public let size_bytes: Int64
        /// SHA-256 of its bytes, in lower-case hexadecimal.
        public let sha256: String

        public init(path: String, size_bytes: Int64, sha256: String) {
            self.path = path
            self.size_bytes = size_bytes
            self.sha256 = sha256
        }
    }

    /// Its files.
    public let files: [File]

    public init(files: [File]) { self.files = files }

    /// The name of the package: SHA-256 over sorted lines of path, size and hash.
    public var package: String {
        let sorted = files.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
        var hash = Hash()
        for file in sorted {
            hash.update(Data("\(file.path)\t\(file.size_bytes)\t\(file.sha256)\n".utf8))
        }
        return hash.hex()
    }

    /// Bytes of all files.
    public var sizeBytes: Int64 {
        files.reduce(0) { sum, file in
            let (next, isOver) = sum.addingReportingOverflow(file.size_bytes)
            return isOver ? .max : next
        }
    }

    /// Checks number, names, sizes and hashes; fails with the first thing that is not allowed.
    public func check() throws {
        guard (1...Self.maxFiles).contains(files.count) else {
            throw Failure(
                .badRequest, "a package of \(files.count) files: expected 1 to \(Self.maxFiles)")
        }
        var seen: [String: String] = [:]
        for file in files {
            try PathRule.check(file.path)
            guard Hex.isDigits(file.sha256, count: 64) else {
                throw Failure(
                    .badRequest, "\"\(file.path)\": expected 64 hexadecimal digits of SHA-256")
            }
            guard file.size_bytes >= 0 else {
                throw Failure(.badRequest, "\"\(file.path)\": a size of \(file.size_bytes)")
            }
            guard file.size_bytes <= Self.maxFileBytes else {
                throw Failure(.tooLarge, "\"\(file.path)\": \(file.size_bytes) bytes")
            }
            if let other = seen.updateValue(file.path, forKey: PathRule.folded(file.path)) {
                throw Failure(
                    .badName, "\"\(file.path)\" and \"\(other)\" are one name to a file system")
            }
        }
        try checkFolders(seen)
    }

    /// No path is a folder of another.
    private func checkFolders(_ seen: [String: String]) throws {
        for file in files {
            var folder = ""
            for part in PathRule.parts(PathRule.folded(file.path)).dropLast() {
                folder += folder.isEmpty ? part : "/" + part
                if let other = seen[folder] {
                    throw Failure(
                        .badName, "\"\(other)\" is a file, and a folder of \"\(file.path)\"")
                }
            }
        }
    }
}

/// Which paths the protocol allows.
public enum PathRule {
    static let maxPathBytes = 1024
    static let maxPartBytes = 255
    static let maxParts = 16

    /// Fails (`bad_name`) with what is wrong with `path`.
    public static func check(_ path: String) throws {
        let bytes = path.utf8.count
        guard (1...maxPathBytes).contains(bytes) else {
            throw Failure(.badName, "a path of \(bytes) bytes: expected 1 to \(maxPathBytes)")
        }
        for scalar in path.unicodeScalars
        where scalar.properties.generalCategory == .control || scalar == "\\" || scalar == ":"
            || isInvisible(scalar)
        {
            let code = String(scalar.value, radix: 16)
            throw Failure(.badName, "a path with the character U+\(code)")
        }
        // By unicode scalars: a combining mark after `/` must not hide it.
        let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard parts.count <= maxParts else {
            throw Failure(.badName, "\"\(path)\": more than \(maxParts) parts")
        }
        for part in parts {
            if part.isEmpty || part.elementsEqual(".".utf8) || part.elementsEqual("..".utf8) {
                throw Failure(.badName, "\"\(path)\": a part that is empty, . or ..")
            }
            if part.last == UInt8(ascii: ".") || part.last == UInt8(ascii: " ") {
                throw Failure(.badName, "\"\(path)\": a part that ends with a dot or a space")
            }
            guard part.count <= maxPartBytes else {
                throw Failure(
                    .badName, "a part of \(part.count) bytes: at most \(maxPartBytes)")
            }
        }
        let composed = path.precomposedStringWithCanonicalMapping
        guard composed.utf8.elementsEqual(path.utf8) else {
            throw Failure(.badName, "\"\(path)\" is not in NFC")
        }
    }

    /// Whether a character has no width of its own: some file systems ignore such ones.
    private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isDefaultIgnorableCodePoint || (0x2028...0x2029).contains(scalar.value)
    }

    /// A path as a file system sees it that does not distinguish upper and lower case. Strings that differ in
    /// normalization are equal in any case. Lower case comes first, because it makes `ẞ` and `ß` equal.
    static func folded(_ path: String) -> String { path.lowercased().uppercased().lowercased() }

    /// The parts of a path that was checked.
    static func parts(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).map { String(decoding: $0, as: UTF8.self) }
    }
}
