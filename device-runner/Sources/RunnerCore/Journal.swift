// What was asked and what came of it, so that nothing runs twice unseen.
//
// `journal` has one JSON object per line, appended: an attempt that starts before it starts, and
// its end before the answer. `jobs/<job>.result` is the result's JSON, `jobs/<job>.logits` the
// payloads of its logits frames, each after its length (u32, little endian).

import Foundation

/// The journal of a store.
final class Journal: @unchecked Sendable {
    /// A line of the file.
    private struct Line: Codable {
        enum Event: String, Codable { case started, done, failed }
        let event: Event
        let job: String
        let attempt: Int
        var ask: String?
        var code: Code?
        var message: String?
    }

    /// How a job ended.
    enum End: Equatable {
        case done
        case failed(Failure)
    }

    /// What is known of a job.
    struct Entry: Equatable {
        /// The fingerprint of what was asked.
        let ask: String
        /// The attempt that ran last.
        let attempt: Int
        /// Nothing where it never ended.
        var end: End?
    }

    private let root: URL
    private var file: OpenFile
    private let lock = NSLock()
    private var entries: [String: Entry] = [:]
    /// Jobs, the one that began first first.
    private var order: [String] = []
    private var lines = 0

    /// Opens the journal in a folder. A last line that was cut is dropped.
    init(root: URL) throws {
        self.root = root
        try Disk.makeFolder(root.appendingPathComponent("jobs"))
        guard let file = try Disk.open(root, ["journal"], .append) else {
            throw Failure(.io, "no journal in \(root.path)")
        }
        self.file = file
        var text = Data()
        while case let part = try file.read(1 << 20), !part.isEmpty { text.append(part) }
        let whole = text.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        if whole < text.count { try file.truncate(to: Int64(whole)) }
        for line in text.prefix(whole).split(separator: UInt8(ascii: "\n")) {
            lines += 1
            // A line that says nothing costs its own job only.
            if let line = try? JSONDecoder().decode(Line.self, from: line) { take(line) }
        }
        for name in Disk.names(root.appendingPathComponent("jobs"))
        where entries[String(name.prefix(32))]?.end == nil {
            try Disk.remove(root.appendingPathComponent("jobs/\(name)"))
        }
        try compactIfLong()
    }

    /// What is known of a job.
    func entry(_ job: String) -> Entry? { lock.withLock { entries[job] } }

    /// Notes that an attempt starts. The line survives the end of this process; no waiting for the
    /// disk here, it would be part of the time to the first token.
    func start(_ job: String, attempt: Int, ask: String) throws {
        try lock.withLock {
            try removeFiles(job)
            try append(Line(event: .started, job: job, attempt: attempt, ask: ask))
        }
    }

    /// Notes how it ended, durably. `result` is JSON.
    func finish(_ job: String, attempt: Int, result: Result<Data, Failure>) throws {
        try lock.withLock {
            switch result {
            case .success(let json):
                try Disk.replace(resultFile(job), with: json)
                try append(Line(event: .done, job: job, attempt: attempt))
            case .failure(let failure):
                try removeFiles(job)
                try append(
                    Line(
                        event: .failed, job: job, attempt: attempt, code: failure.code,
                        message: failure.message))
            }
            try file.sync()
            try compactIfLong()
        }
    }

    /// The result of a job that is done, as JSON.
    func result(_ job: String) throws -> Data {
        do { return try Data(contentsOf: resultFile(job)) } catch {
            throw Failure(.io, "the journal has lost the result of \(job)")
        }
    }

    /// A file for the logits of a job.
    func logitsWriter(_ job: String) throws -> OpenFile {
        try Disk.remove(logitsFile(job))
        guard let file = try Disk.open(root, ["jobs", "\(job).logits"], .write) else {
            throw Failure(.io, "no file for logits")
        }
        return file
    }

    /// Calls `send` with the payload of each logits frame of a job.
    func eachLogits(_ job: String, _ send: (Data) throws -> Void) throws {
        guard let file = try Disk.open(root, ["jobs", "\(job).logits"], .read) else { return }
        while case let head = try file.read(4), head.count == 4 {
            let length = head.withUnsafeBytes {
                Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self)))
            }
            guard length < Limits.frameBytes else { throw Failure(.io, "logits that are broken") }
            var payload = Data()
            while payload.count < length {
                let part = try file.read(length - payload.count)
                guard !part.isEmpty else { throw Failure(.io, "logits that were cut") }
                payload.append(part)
            }
            try send(payload)
        }
    }

    private func resultFile(_ job: String) -> URL {
        root.appendingPathComponent("jobs/\(job).result")
    }
    private func logitsFile(_ job: String) -> URL {
        root.appendingPathComponent("jobs/\(job).logits")
    }

    private func removeFiles(_ job: String) throws {
        try Disk.remove(resultFile(job))
        try Disk.remove(logitsFile(job))
    }

    private func append(_ line: Line) throws {
        try file.write(try Self.encoded(line))
        lines += 1
        take(line)
    }

    private static func encoded(_ line: Line) throws -> Data {
        try JSONEncoder().encode(line) + Data("\n".utf8)
    }

    private func take(_ line: Line) {
        switch line.event {
        case .started:
            if entries[line.job] == nil { order.append(line.job) }
            entries[line.job] = Entry(ask: line.ask ?? "", attempt: line.attempt, end: nil)
        case .done: entries[line.job]?.end = .done
        case .failed:
            let failure = Failure(line.code ?? .io, line.message ?? "")
            entries[line.job]?.end = .failed(failure)
        }
    }

    /// Forgets all but the last jobs, and writes the file anew, when it has grown long.
    private func compactIfLong() throws {
        guard lines > 4 * Limits.jobs || order.count > 2 * Limits.jobs else {
            return try forget()
        }
        try forget()
        var text = Data()
        lines = 0
        for job in order {
            guard let entry = entries[job] else { continue }
            var all = [Line(event: .started, job: job, attempt: entry.attempt, ask: entry.ask)]
            switch entry.end {
            case .done: all.append(Line(event: .done, job: job, attempt: entry.attempt))
            case .failed(let failure):
                all.append(
                    Line(
                        event: .failed, job: job, attempt: entry.attempt, code: failure.code,
                        message: failure.message))
            case nil: break
            }
            for line in all { text.append(try Self.encoded(line)) }
            lines += all.count
        }
        try Disk.replace(root.appendingPathComponent("journal"), with: text)
        guard let file = try Disk.open(root, ["journal"], .append) else {
            throw Failure(.io, "the journal is gone")
        }
        self.file = file
    }

    private func forget() throws {
        guard order.count > Limits.jobs else { return }
        for job in order.prefix(order.count - Limits.jobs) {
            entries[job] = nil
            try removeFiles(job)
        }
        order.removeFirst(order.count - Limits.jobs)
    }
}
