// Files below a folder, opened part by part so that no link is ever followed.

import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

/// An open file that closes itself.
final class OpenFile {
    let descriptor: Int32
    private let name: String

    init(descriptor: Int32, name: String) {
        self.descriptor = descriptor
        self.name = name
    }

    deinit { close(descriptor) }

    /// Writes all of `bytes` where the file is.
    func write(_ bytes: Data) throws {
        try bytes.withUnsafeBytes { buffer in
            var rest = buffer[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest)
                #if canImport(Darwin)
                    let count = Darwin.write(descriptor, part.baseAddress, part.count)
                #else
                    let count = Glibc.write(descriptor, part.baseAddress, part.count)
                #endif
                if count < 0 {
                    if errno == EINTR { continue }
                    throw Disk.failure("write", name)
                }
                rest = rest.dropFirst(count)
            }
        }
    }

    /// Reads from the file's place on: at most `count` bytes, none at its end.
    func read(_ count: Int) throws -> Data {
        var bytes = Data(count: count)
        while true {
            let got = bytes.withUnsafeMutableBytes { buffer in
                #if canImport(Darwin)
                    Darwin.read(descriptor, buffer.baseAddress, buffer.count)
                #else
                    Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                #endif
            }
            if got < 0 {
                if errno == EINTR { continue }
                throw Disk.failure("read", name)
            }
            return bytes.prefix(got)
        }
    }

    /// Bytes of the file; fails (`io`) where it is no regular one.
    func size() throws -> Int64 {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw Disk.failure("examine", name) }
        guard info.st_mode & S_IFMT == S_IFREG else {
            throw Failure(.io, "\(name) is not a regular file")
        }
        return Int64(info.st_size)
    }

    /// Cuts the file and goes to its end.
    func truncate(to bytes: Int64) throws {
        guard ftruncate(descriptor, off_t(bytes)) == 0,
            lseek(descriptor, off_t(bytes), SEEK_SET) >= 0
        else { throw Disk.failure("cut", name) }
    }

    /// Goes back to the start.
    func rewind() { _ = lseek(descriptor, 0, SEEK_SET) }

    /// Waits until the disk has it.
    func sync() throws {
        #if canImport(Darwin)
            if fcntl(descriptor, F_FULLFSYNC) == 0 { return }
        #endif
        guard fsync(descriptor) == 0 else { throw Disk.failure("flush", name) }
    }
}

/// What is done with files and folders.
enum Disk {
    /// The failure of the last system call.
    static func failure(_ what: String, _ name: String) -> Failure {
        let number = errno
        let reason = String(cString: strerror(number))
        return Failure(number == ENOSPC ? .noSpace : .io, "cannot \(what) \(name): \(reason)")
    }

    /// How a file is opened.
    enum Mode { case read, write, append }

    /// Opens the file at `parts` below `root`, making folders where it is written. Nothing where
    /// it is to be read and is not there. No part may be a link.
    static func open(_ root: URL, _ parts: [String], _ mode: Mode) throws -> OpenFile? {
        guard let name = parts.last else { throw Failure(.io, "a file without a name") }
        guard let folder = try openFolder(root, parts.dropLast(), makes: mode != .read) else {
            return nil
        }
        let flags =
            switch mode {
            case .read: O_RDONLY
            case .write: O_RDWR | O_CREAT
            case .append: O_RDWR | O_CREAT | O_APPEND
            }
        let found = openat(folder.descriptor, name, flags | O_NOFOLLOW | O_CLOEXEC, 0o600)
        if found < 0, errno == ENOENT, mode == .read { return nil }
        guard found >= 0 else { throw failure("open", name) }
        return OpenFile(descriptor: found, name: name)
    }

    /// Opens a folder below `root`.
    private static func openFolder(
        _ root: URL, _ parts: ArraySlice<String>, makes: Bool
    ) throws -> OpenFile? {
        let flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC
        #if canImport(Darwin)
            let first = Darwin.open(root.path, flags)
        #else
            let first = Glibc.open(root.path, flags)
        #endif
        if first < 0, errno == ENOENT, !makes { return nil }
        guard first >= 0 else { throw failure("open", root.path) }
        var folder = OpenFile(descriptor: first, name: root.path)
        for part in parts {
            if makes, mkdirat(folder.descriptor, part, 0o700) != 0, errno != EEXIST {
                throw failure("make the folder", part)
            }
            let next = openat(folder.descriptor, part, flags | O_NOFOLLOW)
            if next < 0, errno == ENOENT, !makes { return nil }
            guard next >= 0 else { throw failure("open the folder", part) }
            folder = OpenFile(descriptor: next, name: part)
        }
        return folder
    }

    /// Makes a folder and those above it, for this user alone.
    static func makeFolder(_ url: URL) throws {
        do {
            try FileManager.default.createDirectory(
                at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw Failure(.io, "cannot make the folder \(url.lastPathComponent): \(error)") }
    }

    /// Renames, and waits until both folders know of it.
    static func rename(_ from: URL, to: URL) throws {
        #if canImport(Darwin)
            let result = Darwin.rename(from.path, to.path)
        #else
            let result = Glibc.rename(from.path, to.path)
        #endif
        guard result == 0 else { throw failure("rename", from.lastPathComponent) }
        try syncFolder(to.deletingLastPathComponent())
        try syncFolder(from.deletingLastPathComponent())
    }

    /// Waits until the disk has a folder's entries.
    static func syncFolder(_ url: URL) throws {
        let folder = try openFolder(url, [], makes: false)
        try folder?.sync()
    }

    /// Removes a file or a folder with all that is in it; nothing happens where there is none.
    static func remove(_ url: URL) throws {
        guard (try? FileManager.default.attributesOfItem(atPath: url.path)) != nil else { return }
        do { try FileManager.default.removeItem(at: url) } catch {
            throw Failure(.io, "cannot remove \(url.lastPathComponent): \(error)")
        }
    }

    /// Writes a small file aside and renames it.
    static func replace(_ url: URL, with bytes: Data) throws {
        let aside = url.appendingPathExtension("new")
        try remove(aside)
        let folder = aside.deletingLastPathComponent()
        guard let file = try open(folder, [aside.lastPathComponent], .write) else { return }
        try file.write(bytes)
        try file.sync()
        try rename(aside, to: url)
    }

    /// Names in a folder; none where it is not there.
    static func names(_ url: URL) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: url.path)) ?? []).sorted()
    }

    /// Bytes of all files below a folder. Links are not followed.
    static func sizeBytes(_ url: URL) -> Int64 {
        let manager = FileManager.default
        guard let attributes = try? manager.attributesOfItem(atPath: url.path) else { return 0 }
        if attributes[.type] as? FileAttributeType == .typeDirectory {
            return names(url).reduce(0) { $0 + sizeBytes(url.appendingPathComponent($1)) }
        }
        return (attributes[.size] as? NSNumber)?.int64Value ?? 0
    }

    /// Free bytes of the disk that holds `url`.
    static func freeBytes(_ url: URL) -> Int64? {
        let attributes = try? FileManager.default.attributesOfFileSystem(forPath: url.path)
        return (attributes?[.systemFreeSize] as? NSNumber)?.int64Value
    }
}
