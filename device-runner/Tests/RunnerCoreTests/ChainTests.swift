import Foundation
import XCTest

@testable import RunnerCore
@testable import RunnerCoreML

/// What the Core ML engine decides without Core ML.
final class ChainTests: XCTestCase {
    private func call(_ count: Int, length: Int, position: Int) -> Call {
        Call(ids: Array(repeating: 1, count: count), length: length, isPrefill: length > 1,
            position: position, wantsAll: true)
    }

    private func picture(_ rule: MaskRule, _ tokens: Int, _ columns: Int) -> [String] {
        (0..<tokens).map { token in
            String((0..<columns).map { rule.sees(token: token, column: $0) ? "x" : "." })
        }
    }

    func testMasksOverStates() {
        let rule = MaskRule(call(2, length: 3, position: 2), columns: 6, hasCacheInput: false, window: .max)
        XCTAssertEqual(picture(rule, 3, 6), ["xxx...", "xxxx..", "xxx..."])
        let sliding = MaskRule(call(2, length: 3, position: 2), columns: 6, hasCacheInput: false, window: 2)
        XCTAssertEqual(picture(sliding, 3, 6), [".xx...", "..xx..", ".xx..."])
    }

    func testMasksOverCachesThatAreInputs() {
        let rule = MaskRule(call(2, length: 3, position: 2), columns: 7, hasCacheInput: true, window: .max)
        XCTAssertEqual(picture(rule, 3, 7), ["xx..x..", "xx..xx.", "xx..x.."])
        let sliding = MaskRule(call(1, length: 1, position: 2), columns: 5, hasCacheInput: true, window: 2)
        XCTAssertEqual(picture(sliding, 1, 5), [".x..x"])
    }

    func testHalvesInSoftwareAreTheHardwares() {
        for bits in 0...UInt16.max {
            let (soft, hard) = (Half.floatInSoftware(bits), Half.float(bits))
            XCTAssert(soft.bitPattern == hard.bitPattern || soft.isNaN && hard.isNaN, "\(bits)")
            guard !hard.isNaN else { continue }
            XCTAssertEqual(Half.bitsInSoftware(hard), bits)
            for value in [hard.nextUp, hard.nextDown, hard * 1.0003, hard * 1.00048828125] where value.isFinite {
                XCTAssertEqual(Half.bitsInSoftware(value), Half.bits(value), "\(value)")
            }
        }
    }

    /// Writes down the calls that are made of it.
    private final class Recorder: LoadedModel {
        let shape = ModelShape(contextTokens: 10, prefillTokens: 4, vocabSize: 3, functions: ModelFunction.allCases)
        var calls: [[Int]] = []
        func reset() { calls = [] }
        func run(_ call: Call, row: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
            calls.append([call.ids.count, call.length, call.position])
            let indexes = call.wantsAll ? Array(call.ids.indices) : [call.ids.count - 1]
            for index in indexes { try [0, 1, 1].withUnsafeBufferPointer { try row(index, $0) } }
        }
    }

    func testPromptsGoThroughPrefillWhileAWholeCallFits() throws {
        let model = Recorder()
        var conversation = try Conversation(model)
        var rows: [Int] = []
        try conversation.prefill([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], wantsAll: true) { index, logits in
            rows.append(index)
            XCTAssertEqual(try Logits.greedy(logits), 1)
        }
        XCTAssertEqual(model.calls, [[4, 4, 0], [4, 4, 4], [1, 1, 8], [1, 1, 9]])
        XCTAssertEqual(rows, Array(0..<10))
        conversation = try Conversation(model)
        rows = []
        try conversation.prefill([0, 1, 2, 0, 1], wantsAll: false) { index, _ in rows.append(index) }
        try conversation.decode(2) { _ in }
        XCTAssertEqual(model.calls, [[4, 4, 0], [1, 4, 4], [1, 1, 5]])
        XCTAssertEqual(rows, [4])
    }
}
