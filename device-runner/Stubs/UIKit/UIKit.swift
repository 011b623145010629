// A stand-in for UIKit, for type-checking on Linux. Nothing here works.

import Foundation

/// developer.apple.com/documentation/uikit/uidevice
@MainActor
open class UIDevice: NSObject {
    open class var current: UIDevice { UIDevice() }
    open var name: String { "" }
    open var isBatteryMonitoringEnabled: Bool {
        get { false }
        set {}
    }
    open var batteryLevel: Float { -1 }
    open var batteryState: BatteryState { .unknown }

    /// developer.apple.com/documentation/uikit/uidevice/batterystate-swift.enum
    public enum BatteryState: Int, @unchecked Sendable { case unknown, unplugged, charging, full }
}

/// developer.apple.com/documentation/uikit/uiapplication
@MainActor
open class UIApplication: NSObject {
    open class var shared: UIApplication { UIApplication() }
    open var isIdleTimerDisabled: Bool {
        get { false }
        set {}
    }
}

extension URL {
    /// developer.apple.com/documentation/foundation/url/applicationsupportdirectory
    public static var applicationSupportDirectory: URL { URL(fileURLWithPath: "/") }
}
