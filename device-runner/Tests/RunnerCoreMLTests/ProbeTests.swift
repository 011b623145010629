import CDarwin
import XCTest

@testable import RunnerCore
@testable import RunnerCoreML

/// The probe, against a kernel that fills as much of the structure as it is told, word n with n.
final class ProbeTests: XCTestCase {
    private func figures(filledBytes: Int) -> Figures {
        stub_kernel_fills(filledBytes)
        return AppleProbe().figures()
    }

    /// The number of eight bytes from this offset on.
    private func words(_ offset: Int64) -> Int64 { offset / 4 | (offset / 4 + 1) << 32 }

    func testFiguresAreReadAsFarAsTheKernelFillsThem() {
        XCTAssertEqual(MemoryLayout<task_vm_info_data_t>.size, 372, "93 words since revision 7")
        let all = figures(filledBytes: 372)
        XCTAssertEqual(all.footprint_bytes, words(144))
        XCTAssertEqual(all.footprint_peak_bytes, words(168))
        XCTAssertEqual(all.neural_bytes, words(320))
        XCTAssertEqual(all.neural_peak_bytes, words(364))
        XCTAssertNil(all.available_bytes, "these tests are built as for a Mac, which has no limit")
        // Revision 6 ends before the Neural Engine's total and peak, revision 2 before all ledgers.
        for bytes in [356, 364, 368] {
            let some = figures(filledBytes: bytes)
            XCTAssertEqual(some.neural_bytes, words(320), "\(bytes)")
            XCTAssertNil(some.neural_peak_bytes, "\(bytes)")
        }
        let few = figures(filledBytes: 168)
        XCTAssertEqual(few.footprint_bytes, words(144))
        XCTAssertNil(few.footprint_peak_bytes)
        XCTAssertNil(few.neural_bytes)
    }
}
