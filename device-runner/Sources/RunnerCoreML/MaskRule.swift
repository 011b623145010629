// Which tokens a token sees: the same as `src/package/chain/inputs.rs`. Knows no Core ML.

import RunnerCore

/// What is visible in one call.
struct MaskRule {
    private let call: Call
    private let hasCacheInput: Bool
    private let window: Int
    /// Columns that stand for the cache.
    private let cached: Int

    /// `window` is how many tokens are seen, with the token itself. Where the cache is an input,
    /// the tokens of this call are columns after it.
    init(_ call: Call, columns: Int, hasCacheInput: Bool, window: Int) {
        self.call = call
        self.hasCacheInput = hasCacheInput
        self.window = window
        cached = hasCacheInput ? max(columns - call.length, 0) : columns
    }

    /// Whether a token of the call sees what a column stands for. Tokens that fill up see what the
    /// first one sees: a softmax needs something.
    func sees(token: Int, column: Int) -> Bool {
        let at = call.position + (token < call.ids.count ? token : 0)
        let position: Int
        if column >= cached {
            position = call.position + column - cached
        } else {
            if hasCacheInput, column >= call.position { return false }
            position = column
        }
        return position <= at && at - position < window
    }
}
