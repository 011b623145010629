// Frames as they arrive, read ahead by a thread of their own, so that hashing and receiving
// overlap and the end of a connection is seen while a job runs.

import Foundation

/// The frames of one session, in order.
final class Inbox: @unchecked Sendable {
    /// What arrives.
    enum Item {
        case frame(Frame, at: Moment)
        /// Bytes that are no frame.
        case bad(Failure)
        /// The stream ended or broke; nothing comes after it.
        case ended
    }

    /// Frames that are read ahead; a chunk has at most 1 MiB.
    private static let capacity = 4

    private let condition = NSCondition()
    private var items: [Item] = []
    private var isEnded = false
    /// Told when the stream ends.
    private let onEnd: @Sendable () -> Void

    init(onEnd: @escaping @Sendable () -> Void) { self.onEnd = onEnd }

    /// Reads `stream` to its end.
    func read(_ stream: ByteStream) {
        let reader = FrameReader(stream)
        while true {
            do {
                guard let frame = try reader.next(maxBytes: Limits.frameBytes) else { break }
                guard push(.frame(frame, at: .now)) else { return }
            } catch let failure as Failure {
                _ = push(.bad(failure))
                break
            } catch { break }
        }
        end()
    }

    /// Nothing more comes, and nothing more is wanted.
    func end() {
        condition.withLock {
            isEnded = true
            condition.broadcast()
        }
        onEnd()
    }

    /// Whether the stream is at its end, though there may be items before it.
    var hasEnded: Bool { condition.withLock { isEnded } }

    /// The next item; `ended` too where none came for `seconds`.
    func next(within seconds: Double? = nil) -> Item {
        condition.lock()
        defer { condition.unlock() }
        let limit = seconds.map { Date(timeIntervalSinceNow: $0) }
        while items.isEmpty, !isEnded {
            if let limit {
                guard condition.wait(until: limit) else { return .ended }
            } else {
                condition.wait()
            }
        }
        guard !items.isEmpty else { return .ended }
        condition.broadcast()
        return items.removeFirst()
    }

    private func push(_ item: Item) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        while items.count >= Self.capacity, !isEnded { condition.wait() }
        guard !isEnded else { return false }
        items.append(item)
        condition.broadcast()
        return true
    }
}
