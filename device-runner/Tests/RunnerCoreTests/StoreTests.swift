import Foundation
import RunnerSimulated
import XCTest

@testable import RunnerCore

final class StoreTests: XCTestCase {
    /// Sends a package without a server.
    @discardableResult
    private func put(_ store: Store, _ files: [String: Data], loaded: String? = nil) throws -> String {
        let transfer = try Transfer(Client.manifest(files), store: store)
        for held in try transfer.held(loaded: loaded).files {
            let bytes = files[held.path]!
            if held.have_bytes == Int64(bytes.count) { continue }
            var upload = try transfer.begin(
                Put(package: transfer.package, path: held.path, offset_bytes: held.have_bytes,
                    size_bytes: Int64(bytes.count) - held.have_bytes))
            try upload.take(bytes.dropFirst(Int(held.have_bytes)))
            try transfer.finish(upload)
        }
        try transfer.commit()
        return transfer.package
    }

    private func code(_ work: () throws -> Void) -> Code? {
        do { try work() } catch { return (error as? Failure)?.code }
        return nil
    }

    func testAFileIsResumedAtTheLastWholeMiBAfterARestart() throws {
        let root = try temporaryFolder(self)
        let bytes = Data((0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7919 >> 8) })
        let manifest = Client.manifest(["w.bin": bytes])
        do {
            let transfer = try Transfer(manifest, store: try Store(root: root))
            XCTAssertEqual(try transfer.held(loaded: nil).files[0].have_bytes, 0)
            var upload = try transfer.begin(
                Put(package: transfer.package, path: "w.bin", offset_bytes: 0, size_bytes: 3_000_000))
            try upload.take(bytes.prefix(2_500_000))
        }
        let store = try Store(root: root)
        let transfer = try Transfer(manifest, store: store)
        XCTAssertEqual(try transfer.held(loaded: nil).files[0].have_bytes, 2 << 20)
        XCTAssertEqual(code { try transfer.commit() }, .incomplete)
        try put(store, ["w.bin": bytes])
        let found = try Data(contentsOf: store.inPlace(manifest.package).appendingPathComponent("w.bin"))
        XCTAssertEqual(found, bytes)
    }

    func testAWrongHashRemovesTheFile() throws {
        let store = try Store(root: try temporaryFolder(self))
        let manifest = Manifest(files: [.init(path: "a", size_bytes: 1, sha256: Hash.of(Data([2])))])
        let transfer = try Transfer(manifest, store: store)
        _ = try transfer.held(loaded: nil)
        var upload = try transfer.begin(
            Put(package: transfer.package, path: "a", offset_bytes: 0, size_bytes: 1))
        try upload.take(Data([1]))
        XCTAssertEqual(code { try transfer.finish(upload) }, .hash)
        XCTAssertEqual(try transfer.held(loaded: nil).files[0].have_bytes, 0)
        XCTAssertEqual(Disk.sizeBytes(store.incoming(transfer.package)), 0)
    }

    func testRoomIsMadeByLeastUseButNeverOfWhatIsLoaded() throws {
        let disk = FakeDisk(root: try temporaryFolder(self), capacity: Store.spareBytes + 350_000)
        let store = try Store(root: disk.root, freeBytes: { disk.free })
        let names = try (0..<3).map { index in
            try put(store, ["a": Data(repeating: UInt8(index), count: 100_000)])
        }
        for (age, name) in names.enumerated() {
            try Disk.replace(
                store.root.appendingPathComponent("used/\(name)"), with: Data("\(age + 1) 100000".utf8))
        }
        let next = try put(store, ["a": Data(repeating: 9, count: 100_000)], loaded: names[0])
        let left = store.list(loaded: names[0]).packages.map(\.package)
        XCTAssertEqual(Set(left), [names[0], names[2], next])
        let huge = Data(repeating: 1, count: 400_000)
        XCTAssertEqual(code { try put(store, ["a": huge], loaded: names[0]) }, .noSpace)
        XCTAssertEqual(store.list(loaded: nil).packages.count, 3)
    }

    func testLinksAreNotFollowed() throws {
        let root = try temporaryFolder(self)
        let outside = try temporaryFolder(self)
        let store = try Store(root: root)
        let manifest = Client.manifest(["d/x": Data([1])])
        let files = store.incoming(manifest.package).appendingPathComponent("files")
        try Disk.makeFolder(files)
        try FileManager.default.createSymbolicLink(
            at: files.appendingPathComponent("d"), withDestinationURL: outside)
        XCTAssertEqual(code { try put(store, ["d/x": Data([1])]) }, .io)
        XCTAssertEqual(Disk.names(outside), [])
    }

    func testEvictionAndListing() throws {
        let store = try Store(root: try temporaryFolder(self))
        let package = try put(store, ["a": Data([1, 2, 3]), "b/c": Data(), "model.json": Data([7])])
        XCTAssertEqual(store.list(loaded: package).packages.first?.size_bytes, 4)
        XCTAssertEqual(store.list(loaded: package).packages.first?.loaded, true)
        XCTAssertEqual(try Transfer(Client.manifest(["a": Data([1, 2, 3]), "b/c": Data(), "model.json": Data([7])]), store: store).held(loaded: nil), Held(complete: true, files: []))
        XCTAssertEqual(try store.evict(package), 4)
        XCTAssertEqual(code { _ = try store.evict(package) }, .notFound)
        XCTAssertEqual(code { _ = try store.evict("../x") }, .notFound)
    }

    func testTheFirstLoadIsRememberedByContentUnitsAndSystem() throws {
        let root = try temporaryFolder(self)
        let name = String(repeating: "a", count: 64)
        let both = ModelFunction.allCases
        do {
            let store = try Store(root: root)
            XCTAssert(try store.isFirstLoad(name, .cpu, [.decode], system: "1"))
            XCTAssert(try store.isFirstLoad(name, .cpu, both, system: "1"))
            XCTAssertFalse(try store.isFirstLoad(name, .cpu, both, system: "1"))
        }
        let store = try Store(root: root)
        XCTAssertFalse(try store.isFirstLoad(name, .cpu, both, system: "1"))
        XCTAssert(try store.isFirstLoad(name, .all, both, system: "1"))
        XCTAssert(try store.isFirstLoad(name, .cpu, both, system: "2"))
    }

    func testTheJournalSurvivesACutLastLineAndKeepsTheLastThousandJobs() throws {
        let root = try temporaryFolder(self)
        let name = { (index: Int) in String(repeating: "0", count: 24) + String(10_000_000 + index) }
        do {
            let journal = try Journal(root: root)
            for index in 0..<1_020 {
                try journal.start(name(index), attempt: 1, ask: "x")
                try journal.finish(name(index), attempt: 1, result: .failure(Failure(.engine, "é")))
            }
            try journal.start(name(2_000), attempt: 3, ask: "y")
            try journal.start(name(2_001), attempt: 1, ask: "z")
            try journal.finish(name(2_001), attempt: 1, result: .success(Data("{}".utf8)))
        }
        let file = root.appendingPathComponent("journal")
        try (try Data(contentsOf: file) + Data(#"{"event":"done","job":"#.utf8)).write(to: file)
        for _ in 0..<2 {
            let journal = try Journal(root: root)
            XCTAssertNil(journal.entry(name(0)))
            XCTAssertEqual(
                journal.entry(name(1_019)), .init(ask: "x", attempt: 1, end: .failed(Failure(.engine, "é"))))
            XCTAssertEqual(journal.entry(name(2_000)), .init(ask: "y", attempt: 3, end: nil))
            XCTAssertEqual(journal.entry(name(2_001)), .init(ask: "z", attempt: 1, end: .done))
            XCTAssertEqual(try journal.result(name(2_001)), Data("{}".utf8))
        }
    }
}

/// A disk of some size that holds a folder.
struct FakeDisk: Sendable {
    let root: URL
    let capacity: Int64
    var free: Int64 { capacity - Disk.sizeBytes(root) }
}
