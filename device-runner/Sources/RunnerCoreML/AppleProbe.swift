// What Apple's systems say of device and process.

#if canImport(Darwin) || EVALKIT_STUB_TESTS
    // First: mach_task_self_ is a variable in C, and until Xcode 16.3 @preconcurrency is only obeyed
    // where no import before it brings Darwin along.
    #if EVALKIT_STUB_TESTS
        @preconcurrency import StubDarwin
    #else
        @preconcurrency import Darwin
    #endif
    import Foundation
    import RunnerCore
    import Synchronization
    import os

    /// What only an app knows; it writes here, on its main actor, what the probe reads elsewhere.
    public final class AppState: Sendable {
        /// Battery, power and foreground.
        public struct Values: Sendable {
            public var batteryPercent: Double?
            public var power: Power?
            public var foreground: Bool?
            public var name: String?

            public init() {}
        }

        private let values = Mutex(Values())

        public init() {}

        /// The latest values.
        public var latest: Values { values.withLock { $0 } }

        /// Changes them.
        public func update(_ change: (inout Values) -> Void) {
            values.withLock { current in
                var next = current
                change(&next)
                current = next
            }
        }
    }

    /// The probe for iPhones and Macs.
    public struct AppleProbe: Probe {
        private let app: AppState?

        public init(app: AppState? = nil) { self.app = app }

        public func device() -> Device {
            let info = ProcessInfo.processInfo
            let version = info.operatingSystemVersion
            var number = "\(version.majorVersion).\(version.minorVersion)"
            if version.patchVersion > 0 { number += ".\(version.patchVersion)" }
            #if os(iOS) || EVALKIT_STUB_IOS
                var device = Device(
                    model_identifier: Self.text("hw.machine") ?? "unknown", os: "iOS \(number)")
            #else
                var device = Device(
                    model_identifier: Self.text("hw.model") ?? "unknown", os: "macOS \(number)")
            #endif
            device.name = app?.latest.name
            device.chip = Self.text("machdep.cpu.brand_string")
            device.os_build = Self.text("kern.osversion")
            device.memory_bytes = Int64(clamping: info.physicalMemory)
            device.processors = info.processorCount
            return device
        }

        public func figures() -> Figures {
            var figures = Figures()
            readLedgers(&figures)
            figures.thermal =
                switch ProcessInfo.processInfo.thermalState {
                case .nominal: .nominal
                case .fair: .fair
                case .serious: .serious
                case .critical: .critical
                @unknown default: nil
                }
            figures.low_power = ProcessInfo.processInfo.isLowPowerModeEnabled
            if let app = app?.latest {
                figures.battery_percent = app.batteryPercent
                figures.power = app.power
                figures.foreground = app.foreground
            }
            return figures
        }

        /// The kernel fills as much of the structure as it knows, and says how much; what lies
        /// beyond stays nil.
        private func readLedgers(_ figures: inout Figures) {
            var info = task_vm_info_data_t()
            let words = MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size
            var count = mach_msg_type_number_t(words)
            let result = withUnsafeMutablePointer(to: &info) { pointer in
                pointer.withMemoryRebound(to: integer_t.self, capacity: words) {
                    task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
                }
            }
            guard result == KERN_SUCCESS else { return }
            let bytes = Int(count) * MemoryLayout<natural_t>.size
            let has = { (field: PartialKeyPath<task_vm_info_data_t>) -> Bool in
                guard let at = MemoryLayout<task_vm_info_data_t>.offset(of: field) else { return false }
                return at + 8 <= bytes
            }
            if has(\.phys_footprint) { figures.footprint_bytes = Int64(clamping: info.phys_footprint) }
            if has(\.ledger_phys_footprint_peak) {
                figures.footprint_peak_bytes = info.ledger_phys_footprint_peak
            }
            if has(\.ledger_tag_neural_nofootprint) {
                figures.neural_bytes = info.ledger_tag_neural_nofootprint
            }
            // The structure has it from the SDK of iOS 26 on, which comes with Swift 6.2.
            #if compiler(>=6.2) || EVALKIT_STUB_APPLE
                if has(\.ledger_tag_neural_nofootprint_peak) {
                    figures.neural_peak_bytes = info.ledger_tag_neural_nofootprint_peak
                }
            #endif
            #if os(iOS) || EVALKIT_STUB_IOS
                // Not on a Mac, where a process has no limit.
                figures.available_bytes = Int64(os_proc_available_memory())
            #endif
        }

        /// A text of the system's, of at most 256 bytes.
        private static func text(_ name: String) -> String? {
            var size = 256
            var bytes = [UInt8](repeating: 0, count: size)
            guard sysctlbyname(name, &bytes, &size, nil, 0) == 0, size > 1, size <= bytes.count
            else { return nil }
            return String(decoding: bytes.prefix(size).prefix { $0 != 0 }, as: UTF8.self)
        }
    }
#endif
