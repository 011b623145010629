// A stand-in for Darwin: this system's C library, what XNU has more (CDarwin), and what differs.

@_exported import CDarwin
import Foundation
@_exported import Glibc

// sys/socket.h and sys/fcntl.h of XNU: constants are Int32.
public let SOCK_STREAM: Int32 = 1
public let SO_NOSIGPIPE: Int32 = 0x1022
public let MSG_DONTWAIT: Int32 = 0x80
public let MSG_PEEK: Int32 = 0x2
public let F_FULLFSYNC: Int32 = 51

extension sockaddr_in {
    /// netinet/in.h
    public var sin_len: UInt8 {
        get { 0 }
        set {}
    }
}

extension ProcessInfo {
    /// developer.apple.com/documentation/foundation/processinfo/thermalstate-swift.enum
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    /// developer.apple.com/documentation/foundation/processinfo/thermalstate-swift.property
    public var thermalState: ThermalState { .nominal }
    /// developer.apple.com/documentation/foundation/processinfo/islowpowermodeenabled
    public var isLowPowerModeEnabled: Bool { false }
}
