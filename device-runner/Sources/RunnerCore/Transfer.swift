// A package on its way: which bytes of it are there, and the ones that arrive.

import Foundation

/// The transfer of one package within a session. One thread uses it.
final class Transfer {
    let manifest: Manifest
    let package: String
    private let store: Store
    private let files: [String: Manifest.File]
    /// Hashes of the files of which a beginning is there, and its length.
    private var begun: [String: (hash: Hash, bytes: Int64)] = [:]

    /// Checks names and space, and finds out what is there already.
    init(_ manifest: Manifest, store: Store) throws {
        try manifest.check()
        self.manifest = manifest
        self.store = store
        package = manifest.package
        files = Dictionary(manifest.files.map { ($0.path, $0) }) { first, _ in first }
    }

    /// How much is there of each file; room is made for the rest.
    func held(loaded: String?) throws -> Held {
        if store.isInPlace(package) { return Held(complete: true, files: []) }
        begun = [:]
        var held: [Held.File] = []
        for file in manifest.files {
            held.append(Held.File(path: file.path, have_bytes: try heldBytes(file)))
        }
        let present = held.reduce(0) { $0 + $1.have_bytes }
        try store.makeRoom(manifest.sizeBytes - present, for: package, loaded: loaded)
        for file in manifest.files where file.size_bytes == 0 { try makeEmpty(file) }
        return Held(complete: false, files: held)
    }

    /// Begins to receive the rest of a file.
    func begin(_ put: Put) throws -> Upload {
        guard let file = files[put.path], !store.isInPlace(package) else {
            throw Failure(.badRequest, "no \"have\" of this session wants \"\(put.path)\"")
        }
        let isComplete = store.isVerified(package, file.path)
        let (hash, bytes) = begun[file.path] ?? (Hash(), 0)
        let at = isComplete ? file.size_bytes : bytes
        guard put.offset_bytes == at, put.size_bytes == file.size_bytes - at else {
            throw Failure(
                .badRequest,
                "\"\(put.path)\": expected \(file.size_bytes - at) bytes from \(at) on, found \(put.size_bytes) from \(put.offset_bytes) on"
            )
        }
        if isComplete { return Upload(file: file, part: nil, hash: hash, bytes: at) }
        begun[file.path] = nil
        let part = try Disk.open(folder, ["parts", Self.partName(file.path)], .write)
        try part?.truncate(to: at)
        return Upload(file: file, part: part, hash: hash, bytes: at)
    }

    /// Keeps what arrived of a file whose sender was cut off, for a `put` of the same session.
    func finish(_ upload: Upload) throws {
        guard upload.part != nil else { return }
        let part = try folder.appendingPathComponent("parts/" + Self.partName(upload.file.path))
        guard upload.hash.hex() == upload.file.sha256 else {
            try Disk.remove(part)
            throw Failure(
                .hash,
                "\"\(upload.file.path)\": expected \(upload.file.sha256), found \(upload.hash.hex())")
        }
        try adopt(upload.file, part)
    }

    /// Puts the package in place.
    func commit() throws { try store.commit(manifest) }

    private var folder: URL {
        get throws {
            let url = store.incoming(package)
            try Disk.makeFolder(url.appendingPathComponent("files"))
            try Disk.makeFolder(url.appendingPathComponent("parts"))
            return url
        }
    }

    private static func partName(_ path: String) -> String { Hash.of(Data(path.utf8)) + ".part" }

    /// Moves a complete and compared file to where it belongs.
    private func adopt(_ file: Manifest.File, _ part: URL) throws {
        let parts = PathRule.parts(file.path)
        let target = try folder.appendingPathComponent("files")
        // Makes the folders, refusing links; the rename below takes the file's place.
        _ = try Disk.open(target, parts, .write)
        try Disk.rename(part, to: target.appendingPathComponent(file.path))
        store.markVerified(package, file.path)
    }

    /// A file without bytes is complete from the start.
    private func makeEmpty(_ file: Manifest.File) throws {
        guard file.sha256 == Hash().hex() else {
            throw Failure(.hash, "\"\(file.path)\" has no bytes, and another hash than nothing has")
        }
        guard !store.isVerified(package, file.path) else { return }
        _ = try Disk.open(folder.appendingPathComponent("files"), PathRule.parts(file.path), .write)
        store.markVerified(package, file.path)
    }

    /// Bytes of a file that are there, read again unless this process wrote them.
    private func heldBytes(_ file: Manifest.File) throws -> Int64 {
        let folder = store.incoming(package)
        let complete = folder.appendingPathComponent("files")
        if let found = try Disk.open(complete, PathRule.parts(file.path), .read) {
            if store.isVerified(package, file.path) { return file.size_bytes }
            let (hash, bytes) = try Self.reread(found, most: file.size_bytes)
            if bytes == file.size_bytes, try found.size() == bytes, hash.hex() == file.sha256 {
                store.markVerified(package, file.path)
                return bytes
            }
            try Disk.remove(complete.appendingPathComponent(file.path))
        }
        guard let part = try Disk.open(folder, ["parts", Self.partName(file.path)], .read) else {
            return 0
        }
        let chunk = Int64(Limits.chunkBytes)
        // A part that is as long as the file was cut off before its hash was compared.
        let whole = min(try part.size(), max(file.size_bytes - 1, 0)) / chunk * chunk
        let (hash, bytes) = try Self.reread(part, most: whole)
        if bytes > 0 { begun[file.path] = (hash, bytes) }
        return bytes
    }

    private static func reread(_ file: OpenFile, most: Int64) throws -> (Hash, Int64) {
        var hash = Hash()
        var bytes: Int64 = 0
        while bytes < most {
            let part = try file.read(Int(min(Int64(Limits.chunkBytes), most - bytes)))
            if part.isEmpty { break }
            hash.update(part)
            bytes += Int64(part.count)
        }
        return (hash, bytes)
    }
}

/// A file that is being received.
struct Upload {
    let file: Manifest.File
    /// Nothing where the file is complete already.
    let part: OpenFile?
    fileprivate(set) var hash: Hash
    fileprivate(set) var bytes: Int64

    /// Bytes that are still to come.
    var missingBytes: Int64 { file.size_bytes - bytes }

    /// Takes a chunk that is not longer than what is missing.
    mutating func take(_ chunk: Data) throws {
        try part?.write(chunk)
        hash.update(chunk)
        bytes += Int64(chunk.count)
    }
}
