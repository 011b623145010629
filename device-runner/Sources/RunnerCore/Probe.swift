// What the system says of itself. On Apple's systems RunnerCoreML has a probe that knows more.

import Foundation

#if canImport(Glibc)
    import Glibc
#endif

/// Reads the state of the device; called from any thread.
public protocol Probe: Sendable {
    /// The device.
    func device() -> Device
    /// Its state now; `at_ms` is the caller's to fill in.
    func figures() -> Figures
}

/// The probe for Linux, and for tests anywhere.
public struct PlainProbe: Probe {
    public init() {}

    public func device() -> Device {
        let info = ProcessInfo.processInfo
        var device = Device(model_identifier: Self.machine, os: Self.system)
        #if os(Linux) && !EVALKIT_STUB_APPLE
            device.chip = Self.field("/proc/cpuinfo", "model name")
            device.os_build = try? String(
                contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8
            ).trimmingCharacters(in: .whitespacesAndNewlines)
        #endif
        device.name = info.hostName
        device.memory_bytes = Int64(clamping: info.physicalMemory)
        device.processors = info.activeProcessorCount
        return device
    }

    public func figures() -> Figures {
        var figures = Figures()
        #if os(Linux) && !EVALKIT_STUB_APPLE
            figures.footprint_bytes = Self.kibibytes("/proc/self/status", "RssAnon")
            figures.available_bytes = Self.kibibytes("/proc/meminfo", "MemAvailable")
        #endif
        return figures
    }

    private static var machine: String {
        #if arch(x86_64)
            "x86_64"
        #elseif arch(arm64)
            "arm64"
        #else
            "unknown"
        #endif
    }

    private static var system: String {
        #if os(Linux) && !EVALKIT_STUB_APPLE
            let text = field("/etc/os-release", "PRETTY_NAME", separator: "=")
            return text?.trimmingCharacters(in: ["\""]) ?? "Linux"
        #else
            return ProcessInfo.processInfo.operatingSystemVersionString
        #endif
    }

    /// The value of a line `name: value`.
    private static func field(_ file: String, _ name: String, separator: Character = ":") -> String? {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix(name) {
            let parts = line.split(separator: separator, maxSplits: 1)
            if parts.count == 2, parts[0].trimmingCharacters(in: .whitespaces) == name {
                return parts[1].trimmingCharacters(in: .whitespaces)
            }
        }
        return nil
    }

    private static func kibibytes(_ file: String, _ name: String) -> Int64? {
        field(file, name)?.split(separator: " ").first.flatMap { Int64($0) }.map { $0 << 10 }
    }
}

/// Takes figures at an interval on a thread of its own, until it is stopped.
final class Sampler: @unchecked Sendable {
    private let condition = NSCondition()
    private var samples: [Figures] = []
    private var isStopped = false

    init(_ probe: any Probe, from start: Moment, everyMs: Int) {
        guard everyMs > 0 else { return }
        Thread.start { [self] in
            var due = start
            while true {
                due = due.advanced(by: .milliseconds(everyMs))
                guard wait(until: due) else { return }
                var figures = autoreleasepool { probe.figures() }
                figures.at_ms = start.elapsedMs
                guard keep(figures) else { return }
            }
        }
    }

    /// The figures so far; no more are taken.
    func stop() -> [Figures] {
        condition.withLock {
            isStopped = true
            condition.broadcast()
            return samples
        }
    }

    private func wait(until due: Moment) -> Bool {
        condition.withLock {
            while !isStopped {
                let left = Moment.now.duration(to: due).inMs
                if left <= 0 { return true }
                _ = condition.wait(until: Date(timeIntervalSinceNow: left / 1e3))
            }
            return false
        }
    }

    private func keep(_ figures: Figures) -> Bool {
        condition.withLock {
            guard !isStopped, samples.count < Limits.figures else { return false }
            samples.append(figures)
            return true
        }
    }
}
