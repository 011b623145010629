// A stand-in for os, for type-checking on Linux.

/// os/proc.h; developer.apple.com/documentation/os/os_proc_available_memory. Not on macOS.
public func os_proc_available_memory() -> Int { 1 << 20 }
