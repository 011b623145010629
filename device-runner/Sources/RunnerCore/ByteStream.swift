// A stream in both directions over file descriptors: a socket, or standard input and output.

import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

/// Two descriptors, or one twice. Reading is for one thread, writing for one at a time.
public final class ByteStream: ByteSource, @unchecked Sendable {
    private let input: Int32
    private let output: Int32
    private let isSocket: Bool
    private let lock = NSLock()
    /// When reading gives up; only the reading thread touches it.
    private var deadline: Moment?

    /// A connected socket, closed with this object.
    public init(socket: Int32) {
        input = socket
        output = socket
        isSocket = true
        Sockets.prepare(socket)
    }

    /// Standard input and output, or two pipes; they stay open.
    public init(input: Int32, output: Int32) {
        self.input = input
        self.output = output
        isSocket = false
    }

    deinit { if isSocket { close(input) } }

    /// From now on reading fails after `seconds`; never without a number.
    func setDeadline(_ seconds: Double?) {
        deadline = seconds.map { .now.advanced(by: .milliseconds(Int($0 * 1000))) }
    }

    public func fill(_ buffer: UnsafeMutableRawBufferPointer, isWithinFrame: Bool) throws -> Bool {
        var filled = 0
        var begin = Moment.now
        while filled < buffer.count {
            let isInside = isWithinFrame || filled > 0
            // Neither silence nor a trickle of less than 4 KiB a second may hold the stream.
            let quiet = Moment.now.advanced(by: .seconds(10))
            let trickle = begin.advanced(by: .milliseconds(10_000 + filled / 4))
            let silence = isInside ? min(quiet, trickle) : nil
            try waitUntil(input, POLLIN, [deadline, silence].compactMap { $0 }.min())
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = read(input, rest.baseAddress, rest.count)
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            if count < 0 { throw StreamEnded(what: String(cString: strerror(errno))) }
            if count == 0 {
                if filled == 0 { return false }
                throw StreamEnded(what: "the stream ended within a frame")
            }
            if !isInside { begin = .now }
            filled += count
        }
        return true
    }

    /// Sends all of `bytes`; the other side has ten seconds to take some of it.
    func send(_ bytes: Data) throws {
        try lock.withLock {
            try bytes.withUnsafeBytes { buffer in
                var at = 0
                while at < buffer.count {
                    let limit = Moment.now.advanced(by: .seconds(10))
                    try waitUntil(output, POLLOUT, limit)
                    let rest = UnsafeRawBufferPointer(rebasing: buffer[at...])
                    let count = isSocket ? Sockets.send(output, rest) : writePipe(rest)
                    if count < 0, errno == EINTR || errno == EAGAIN { continue }
                    if count < 0 { throw StreamEnded(what: String(cString: strerror(errno))) }
                    at += count
                }
            }
        }
    }

    /// Ends a socket in both directions; whoever reads from it wakes up.
    func shutDown() {
        if isSocket { _ = shutdown(input, Int32(SHUT_RDWR)) }
    }

    #if canImport(Darwin)
        private static let peek = Darwin.MSG_PEEK | Darwin.MSG_DONTWAIT
    #else
        private static let peek = Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)
    #endif

    /// Whether bytes have come over a socket that were not read yet.
    var hasUnread: Bool {
        var byte: UInt8 = 0
        return isSocket && recv(input, &byte, 1, ByteStream.peek) > 0
    }

    /// Says that nothing more is sent, and reads what still arrives for a moment: closing with
    /// unread bytes would take the last frame from the other side.
    func drain() {
        guard isSocket else { return }
        _ = shutdown(input, Int32(SHUT_WR))
        let limit = Moment.now.advanced(by: .milliseconds(500))
        var scrap = [UInt8](repeating: 0, count: 1 << 16)
        while (try? waitUntil(input, POLLIN, limit)) != nil {
            if read(input, &scrap, scrap.count) <= 0 { return }
        }
    }

    private func writePipe(_ bytes: UnsafeRawBufferPointer) -> Int {
        // No more than a pipe surely takes once it takes anything.
        write(output, bytes.baseAddress, min(bytes.count, 4096))
    }

    private func waitUntil(_ descriptor: Int32, _ event: Int32, _ limit: Moment?) throws {
        while true {
            var timeout: Int32 = -1
            if let limit {
                let left = Moment.now.duration(to: limit).inMs
                guard left > 0 else { throw StreamEnded(what: "the other side keeps silent") }
                timeout = Int32(min(left.rounded(.up), 60_000))
            }
            var entry = pollfd(fd: descriptor, events: Int16(event), revents: 0)
            let ready = poll(&entry, 1, timeout)
            if ready > 0 { return }
            if ready < 0, errno != EINTR {
                throw StreamEnded(what: String(cString: strerror(errno)))
            }
        }
    }
}

/// What differs between systems about sockets.
enum Sockets {
    /// A socket that listens on 127.0.0.1, and its port.
    static func listen(port: UInt16) throws -> (descriptor: Int32, port: UInt16) {
        #if canImport(Darwin)
            let kind: Int32 = SOCK_STREAM
        #else
            let kind = Int32(SOCK_STREAM.rawValue)
        #endif
        let descriptor = socket(AF_INET, kind, 0)
        guard descriptor >= 0 else { throw Disk.failure("make", "a socket") }
        var yes: Int32 = 1
        _ = setsockopt(
            descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        var address = sockaddr_in()
        #if canImport(Darwin)
            address.sin_len = UInt8(MemoryLayout<sockaddr_in>.size)
        #endif
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard bind(descriptor, address, length) == 0 else { return Int32(-1) }
                #if canImport(Darwin)
                    guard Darwin.listen(descriptor, 16) == 0 else { return -1 }
                #else
                    guard Glibc.listen(descriptor, 16) == 0 else { return -1 }
                #endif
                return getsockname(descriptor, address, &length)
            }
        }
        guard result == 0 else {
            let failure = Disk.failure("listen on", "127.0.0.1:\(port)")
            close(descriptor)
            throw failure
        }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    /// What `accept` found within a moment.
    enum Accepted {
        case connection(Int32)
        case nothing
        /// The listener is no more, as after a suspension on iOS.
        case dead(String)
    }

    /// A connection, where one comes within 200 ms.
    static func accept(_ listener: Int32) -> Accepted {
        var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        let ready = poll(&entry, 1, 200)
        if ready == 0 || ready < 0 && errno == EINTR { return .nothing }
        #if canImport(Darwin)
            let found = Darwin.accept(listener, nil, nil)
        #else
            let found = Glibc.accept(listener, nil, nil)
        #endif
        if found >= 0 { return .connection(found) }
        let number = errno
        if number == EINTR || number == EAGAIN { return .nothing }
        if number == EMFILE || number == ENFILE {
            usleep(100_000)
            return .nothing
        }
        return .dead(String(cString: strerror(number)))
    }

    /// No signal for a broken connection, no waiting to fill packets.
    static func prepare(_ socket: Int32) {
        var yes: Int32 = 1
        let length = socklen_t(MemoryLayout<Int32>.size)
        _ = setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, length)
        _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
        #if canImport(Darwin)
            _ = setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &yes, length)
        #endif
    }

    static func send(_ socket: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Darwin)
            Darwin.send(socket, bytes.baseAddress, bytes.count, MSG_DONTWAIT)
        #else
            Glibc.send(
                socket, bytes.baseAddress, bytes.count,
                Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        #endif
    }
}
