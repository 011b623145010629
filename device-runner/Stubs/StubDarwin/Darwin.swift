// A stand-in for the parts of Darwin and Foundation that the probe reads, for type-checking on
// Linux. Names and types are those of the headers and pages named; nothing here works.

import Foundation

// mach/vm_types.h, mach/task_info.h (xnu), developer.apple.com/documentation/kernel/task_info_t
public typealias kern_return_t = Int32
public typealias integer_t = Int32
public typealias natural_t = UInt32
public typealias mach_msg_type_number_t = natural_t
public typealias task_flavor_t = natural_t
public let KERN_SUCCESS: Int32 = 0
public let TASK_VM_INFO: Int32 = 22

/// mach/task_info.h: struct task_vm_info, as far as it is read.
public struct task_vm_info_data_t {
    public var phys_footprint: UInt64 = 0
    public var ledger_phys_footprint_peak: Int64 = 0
    public var ledger_tag_neural_nofootprint: Int64 = 0
    public var limit_bytes_remaining: UInt64 = 0
    public var ledger_tag_neural_nofootprint_total: Int64 = 0
    public var ledger_tag_neural_nofootprint_peak: Int64 = 0
    public init() {}
}

/// mach/mach_init.h, mach/task.h
public let mach_task_self_: UInt32 = 0
public func task_info(
    _ task: UInt32, _ flavor: task_flavor_t, _ info: UnsafeMutablePointer<integer_t>?,
    _ count: UnsafeMutablePointer<mach_msg_type_number_t>?
) -> kern_return_t { 1 }

/// os/proc.h; developer.apple.com/documentation/os/os_proc_available_memory
public func os_proc_available_memory() -> Int { 0 }

/// sys/sysctl.h
public func sysctlbyname(
    _ name: String, _ value: UnsafeMutableRawPointer?, _ size: UnsafeMutablePointer<Int>?,
    _ new: UnsafeMutableRawPointer?, _ newSize: Int
) -> Int32 { -1 }

extension ProcessInfo {
    /// developer.apple.com/documentation/foundation/processinfo/thermalstate-swift.enum
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    /// developer.apple.com/documentation/foundation/processinfo/thermalstate-swift.property
    public var thermalState: ThermalState { .nominal }
    /// developer.apple.com/documentation/foundation/processinfo/islowpowermodeenabled
    public var isLowPowerModeEnabled: Bool { false }
}
