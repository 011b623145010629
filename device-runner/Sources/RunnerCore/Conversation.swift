// Token ids in, logits out: how a model's two functions are called, the same for every engine and
// the same as `src/package/chain` does on the host.

import Foundation

/// A model with so many tokens in its cache.
struct Conversation {
    private let model: any LoadedModel
    private var position = 0

    /// Begins with an empty cache.
    init(_ model: any LoadedModel) throws {
        self.model = model
        try model.reset()
    }

    /// Appends a prompt, several tokens at a time as long as a whole call of `prefill` fits the
    /// cache, then one by one; one by one throughout where `decode` alone is loaded. `row` is given the index in `ids` and the logits after it: of all
    /// tokens, or of the last alone.
    mutating func prefill(
        _ ids: [UInt32], wantsAll: Bool,
        row: (Int, UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let shape = model.shape
        var at = 0
        while at < ids.count {
            let part = Array(ids[at..<min(at + shape.prefillTokens, ids.count)])
            let isWhole =
                shape.functions.contains(.prefill)
                && position + shape.prefillTokens <= shape.contextTokens
            let calls = isWhole ? [part] : part.map { [$0] }
            for (index, call) in calls.enumerated() {
                let start = at + index
                let isLast = start + call.count == ids.count
                try run(call, isPrefill: isWhole, wantsAll: wantsAll) { token, logits in
                    if wantsAll || isLast { try row(start + token, logits) }
                }
            }
            at += part.count
        }
    }

    /// Appends one token; `row` is given the logits after it.
    mutating func decode(
        _ id: UInt32, row: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        try run([id], isPrefill: false, wantsAll: false) { try row($1) }
    }

    private mutating func run(
        _ ids: [UInt32], isPrefill: Bool, wantsAll: Bool,
        row: (Int, UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let length = isPrefill ? model.shape.prefillTokens : 1
        let call = Call(
            ids: ids, length: length, isPrefill: isPrefill, position: position, wantsAll: wantsAll)
        try autoreleasepool { try model.run(call, row: row) }
        position += ids.count
    }
}

/// What is read off logits.
enum Logits {
    /// The index of the largest; of equal ones the lowest.
    static func greedy(_ logits: UnsafeBufferPointer<Float>) throws -> UInt32 {
        var best = -Float.infinity
        var found = -1
        for (id, value) in logits.enumerated() where value > best {
            best = value
            found = id
        }
        guard found >= 0 else {
            throw Failure(.engine, "the model gives no logit that is a number")
        }
        return UInt32(found)
    }

    /// Negative log of the probability of `id`, in nats.
    static func nll(_ logits: UnsafeBufferPointer<Float>, _ id: UInt32) throws -> Double {
        guard Int(id) < logits.count else {
            throw Failure(.engine, "the model gives \(logits.count) logits, and no token \(id)")
        }
        var largest = -Float.infinity
        for value in logits { largest = max(largest, value) }
        var sum = 0.0
        for value in logits { sum += exp(Double(value) - Double(largest)) }
        let nll = log(sum) + Double(largest) - Double(logits[Int(id)])
        guard nll.isFinite else {
            throw Failure(.engine, "the model gives logits that are not finite")
        }
        return nll
    }
}
