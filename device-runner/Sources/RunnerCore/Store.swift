// What lies on the disk:
//
//     lock                         held by the process that uses the store
//     incoming/H/files/...         complete files of a package that is being sent
//     incoming/H/parts/K.part      the beginning of a file; K is the hash of its path
//     packages/H/...               packages in place
//     used/H                       last use, in seconds since 1970, and size in bytes
//     compiled/H/BUILD/...         what the engine made of a package
//     loads                        one line per content, units and system that was loaded
//     journal, jobs/               see Journal.swift

import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

/// The packages of a runner.
public final class Store: @unchecked Sendable {
    /// Bytes that stay free whatever is sent.
    static let spareBytes: Int64 = 16 << 20

    let root: URL
    private let lockFile: OpenFile
    private let freeBytesNow: @Sendable () -> Int64?
    /// Guards the files and what follows.
    private let lock = NSRecursiveLock()
    /// Files whose bytes this process has compared with their hash.
    private var verified: [String: Set<String>] = [:]

    /// Opens the store in a folder, or begins one. Fails (`busy`) where another process has it.
    public init(root: URL, freeBytes: (@Sendable () -> Int64?)? = nil) throws {
        self.root = root.standardizedFileURL.resolvingSymlinksInPath()
        let root = self.root
        freeBytesNow = freeBytes ?? { Disk.freeBytes(root) }
        for name in ["incoming", "packages", "used", "compiled", "jobs"] {
            try Disk.makeFolder(root.appendingPathComponent(name))
        }
        guard let file = try Disk.open(root, ["lock"], .write) else {
            throw Failure(.io, "no lock in \(root.path)")
        }
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw Failure(.busy, "another runner uses the store \(root.path)")
        }
        lockFile = file
        #if canImport(Darwin)
            var folder = root
            var values = URLResourceValues()
            values.isExcludedFromBackup = true
            try? folder.setResourceValues(values)
        #endif
    }

    /// Free bytes of the disk.
    public var freeBytes: Int64? { freeBytesNow() }

    func incoming(_ package: String) -> URL { root.appendingPathComponent("incoming/\(package)") }
    func inPlace(_ package: String) -> URL { root.appendingPathComponent("packages/\(package)") }
    private func compiled(_ package: String) -> URL {
        root.appendingPathComponent("compiled/\(package)")
    }
    private func used(_ package: String) -> URL { root.appendingPathComponent("used/\(package)") }

    func isInPlace(_ package: String) -> Bool {
        FileManager.default.fileExists(atPath: inPlace(package).path)
    }

    func isVerified(_ package: String, _ path: String) -> Bool {
        lock.withLock { verified[package]?.contains(path) ?? false }
    }

    func markVerified(_ package: String, _ path: String) {
        _ = lock.withLock { verified[package, default: []].insert(path) }
    }

    /// Puts a package in place whose files are all there and compared.
    func commit(_ manifest: Manifest) throws {
        try lock.withLock {
            let package = manifest.package
            if isInPlace(package) { return }
            let files = incoming(package).appendingPathComponent("files")
            for file in manifest.files {
                guard isVerified(package, file.path),
                    let open = try Disk.open(files, PathRule.parts(file.path), .read),
                    try open.size() == file.size_bytes
                else { throw Failure(.incomplete, "\"\(file.path)\" is not complete") }
                try open.sync()
            }
            for folder in Set(manifest.files.map { PathRule.parts($0.path).dropLast() }) {
                for depth in 0...folder.count {
                    let name = folder.prefix(depth).joined(separator: "/")
                    try Disk.syncFolder(name.isEmpty ? files : files.appendingPathComponent(name))
                }
            }
            try writeUse(package, sizeBytes: manifest.sizeBytes)
            try Disk.rename(files, to: inPlace(package))
            try Disk.remove(incoming(package))
            verified[package] = nil
        }
    }

    /// The packages in place.
    func list(loaded: String?) -> Listing {
        lock.withLock {
            Listing(
                packages: Disk.names(root.appendingPathComponent("packages")).map { name in
                    let use = readUse(name)
                    return Listing.Package(
                        package: name, size_bytes: use.sizeBytes, last_used_unix_s: use.seconds,
                        loaded: name == loaded)
                })
        }
    }

    /// Removes a package, in place or on its way; bytes that became free.
    func evict(_ package: String) throws -> Int64 {
        try lock.withLock {
            let places = [inPlace(package), incoming(package), compiled(package)]
            guard Hex.isDigits(package, count: 64),
                places.prefix(2).contains(where: { FileManager.default.fileExists(atPath: $0.path) })
            else { throw Failure(.notFound, "no package \(package.prefix(64))") }
            let freed = places.reduce(0) { $0 + Disk.sizeBytes($1) }
            for place in places { try Disk.remove(place) }
            try Disk.remove(used(package))
            verified[package] = nil
            return freed
        }
    }

    /// Makes room for `bytes` more: first what is on its way but for `package`, then what was not
    /// used for longest, never `loaded`. Fails (`no_space`), removing nothing, where that is not
    /// enough.
    func makeRoom(_ bytes: Int64, for package: String, loaded: String?) throws {
        try lock.withLock {
            guard let free = freeBytes else { return }
            let wanted = bytes.addingReportingOverflow(Self.spareBytes)
            guard !wanted.overflow, free < wanted.partialValue else {
                if wanted.overflow { throw Failure(.noSpace, "more bytes than any disk has") }
                return
            }
            let unfinished = Disk.names(root.appendingPathComponent("incoming"))
            let old = list(loaded: loaded).packages.filter { !$0.loaded }
                .sorted { $0.last_used_unix_s < $1.last_used_unix_s }.map(\.package)
            var victims: [String] = []
            var freed: Int64 = 0
            for victim in unfinished + old where victim != package {
                if free + freed >= wanted.partialValue { break }
                victims.append(victim)
                freed += [inPlace(victim), incoming(victim), compiled(victim)]
                    .reduce(0) { $0 + Disk.sizeBytes($1) }
            }
            guard free + freed >= wanted.partialValue else {
                throw Failure(
                    .noSpace,
                    "\(bytes) bytes are to come, \(free) are free and \(freed) could become so")
            }
            for victim in victims { _ = try evict(victim) }
        }
    }

    /// A package in place, now used; what `engine` makes of it under `system` has its own folder.
    func place(_ package: String, system: String) throws -> PackagePlace {
        try lock.withLock {
            guard Hex.isDigits(package, count: 64), isInPlace(package) else {
                throw Failure(.notFound, "no package \(package.prefix(64))")
            }
            try writeUse(package, sizeBytes: readUse(package).sizeBytes)
            let key = String(Hash.of(Data(system.utf8)).prefix(16))
            return PackagePlace(
                folder: inPlace(package), compiled: compiled(package).appendingPathComponent(key))
        }
    }

    /// Whether these functions of `package` were never loaded together with these units under this
    /// system; from now on they were.
    func isFirstLoad(
        _ package: String, _ units: ComputeUnits, _ functions: [ModelFunction], system: String
    ) throws -> Bool {
        try lock.withLock {
            let all = functions.count == ModelFunction.allCases.count
            let part = all ? "" : "\t" + functions.map(\.rawValue).joined(separator: ",")
            let line = Hash.of(Data("\(package)\t\(units.rawValue)\t\(system)\(part)".utf8))
            let file = root.appendingPathComponent("loads")
            let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
            let lines = text.split(separator: "\n")
            if lines.contains(Substring(line)) { return false }
            let kept = lines.suffix(9_999) + [Substring(line)]
            try Disk.replace(file, with: Data((kept.joined(separator: "\n") + "\n").utf8))
            return true
        }
    }

    private func readUse(_ package: String) -> (seconds: Int64, sizeBytes: Int64) {
        let text = (try? String(contentsOf: used(package), encoding: .utf8)) ?? ""
        let numbers = text.split(separator: " ").compactMap { Int64($0) }
        guard numbers.count == 2 else { return (0, Disk.sizeBytes(inPlace(package))) }
        return (numbers[0], numbers[1])
    }

    private func writeUse(_ package: String, sizeBytes: Int64) throws {
        let now = Int64(Date().timeIntervalSince1970)
        try Disk.replace(used(package), with: Data("\(now) \(sizeBytes)".utf8))
    }
}
