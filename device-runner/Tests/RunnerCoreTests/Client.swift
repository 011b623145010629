// A client of the protocol for tests, over a real socket.

import Foundation
import XCTest

@testable import RunnerCore

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

final class Client {
    let descriptor: Int32
    let stream: ByteStream
    private var lastId = 0

    init(port: UInt16) throws {
        #if canImport(Darwin)
            descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #else
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let descriptor = descriptor
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        stream = ByteStream(socket: descriptor)
        guard result == 0 else { throw StreamEnded(what: "connect") }
    }

    func send(raw: Data) throws { try stream.send(raw) }
    func send(_ message: [String: Any]) throws {
        let json = try JSONSerialization.data(withJSONObject: message)
        try stream.send(try Frame.control(json).encoded())
    }
    func send(chunk: Data) throws { try stream.send(try Frame.chunk(chunk).encoded()) }

    /// The next frame but for `alive` and `progress`; nothing at the stream's end.
    func next() throws -> (message: [String: Any], logits: [Frame])? {
        var logits: [Frame] = []
        while true {
            stream.setDeadline(30)
            let found: Frame?
            do { found = try FrameReader(stream).next(maxBytes: Limits.frameBytes) } catch is StreamEnded {
                return nil
            }
            guard let found else { return nil }
            guard case .control(let json) = found else {
                logits.append(found)
                continue
            }
            let message = try JSONSerialization.jsonObject(with: json) as! [String: Any]
            if ["alive", "progress"].contains(message["type"] as! String) { continue }
            return (message, logits)
        }
    }

    /// Greets until it is welcome.
    static func welcome(_ port: UInt16, token: String = testToken) throws -> Client {
        for _ in 0..<100 {
            let client = try Client(port: port)
            let hello: [String: Any] = ["type": "hello", "protocol": 1, "token": token, "client": "test"]
            try client.send(hello)
            let answer = try XCTUnwrap(try client.next()).message
            if answer["type"] as? String == "welcome" { return client }
            guard answer["code"] as? String == "busy" else { throw Failure(.token, "\(answer)") }
            usleep(50_000)
        }
        throw Failure(.busy, "for too long")
    }

    /// Asks and waits for the answer.
    @discardableResult
    func ask(_ type: String, _ fields: [String: Any] = [:]) throws -> [String: Any] {
        try start(type, fields)
        return try XCTUnwrap(try next()).message
    }

    /// Asks without waiting.
    func start(_ type: String, _ fields: [String: Any] = [:]) throws {
        lastId += 1
        try send(fields.merging(["type": type, "id": lastId]) { $1 })
    }

    /// Sends a package.
    func put(_ files: [String: Data]) throws -> String {
        let manifest = Self.manifest(files)
        let have = try ask("have", ["manifest": Self.object(manifest)])
        let result = try XCTUnwrap(have["result"] as? [String: Any], "\(have)")
        for held in result["files"] as! [[String: Any]] {
            let (path, at) = (held["path"] as! String, held["have_bytes"] as! Int)
            let bytes = files[path]!
            if at == bytes.count { continue }
            try start("put", Self.putFields(manifest.package, path, at, bytes.count - at))
            for from in stride(from: at, to: bytes.count, by: 1 << 20) {
                try send(chunk: bytes[from..<min(from + (1 << 20), bytes.count)])
            }
            let answer = try XCTUnwrap(try next()).message
            XCTAssertEqual(answer["type"] as? String, "done", "\(answer)")
        }
        let answer = try ask("commit", ["package": manifest.package])
        XCTAssertEqual(answer["type"] as? String, "done", "\(answer)")
        return manifest.package
    }

    static func putFields(_ package: String, _ path: String, _ at: Int, _ count: Int) -> [String: Any] {
        ["package": package, "path": path, "offset_bytes": at, "size_bytes": count]
    }

    static func manifest(_ files: [String: Data]) -> Manifest {
        Manifest(files: files.sorted { $0.key < $1.key }.map {
            Manifest.File(path: $0.key, size_bytes: Int64($0.value.count), sha256: Hash.of($0.value))
        })
    }

    static func object(_ manifest: Manifest) -> Any {
        try! JSONSerialization.jsonObject(with: try! JSONEncoder().encode(manifest))
    }
}

let testToken = "0123456789abcdef0123456789abcdef"

/// A server over a store, and its port.
struct TestServer {
    let server: Server
    let port: UInt16
    let store: Store

    init(_ root: URL, engine: any Engine, freeBytes: (@Sendable () -> Int64?)? = nil,
        greetingSeconds: Double = 10) throws {
        store = try Store(root: root, freeBytes: freeBytes)
        var options = try Server.Options(token: testToken)
        options.greetingSeconds = greetingSeconds
        server = try Server(engine: engine, probe: PlainProbe(), store: store, options: options)
        port = try server.listen(port: 0)
    }
}
