// A stand-in for UIKit's UIDevice.h and UIApplication.h, for type-checking on Linux. Nothing here works.

import Foundation

/// developer.apple.com/documentation/uikit/uidevice
@MainActor
open class UIDevice: NSObject {
    /// developer.apple.com/documentation/uikit/uidevice/current
    open class var current: UIDevice { UIDevice() }
    /// developer.apple.com/documentation/uikit/uidevice/name
    open var name: String { "" }
    /// developer.apple.com/documentation/uikit/uidevice/isbatterymonitoringenabled
    open var isBatteryMonitoringEnabled: Bool {
        get { false }
        set {}
    }
    /// developer.apple.com/documentation/uikit/uidevice/batterylevel
    open var batteryLevel: Float { -1 }
    /// developer.apple.com/documentation/uikit/uidevice/batterystate-swift.property
    open var batteryState: BatteryState { .unknown }

    /// developer.apple.com/documentation/uikit/uidevice/batterystate-swift.enum
    public enum BatteryState: Int, @unchecked Sendable { case unknown, unplugged, charging, full }
}

/// developer.apple.com/documentation/uikit/uiapplication
@MainActor
open class UIApplication: NSObject {
    /// developer.apple.com/documentation/uikit/uiapplication/shared
    open class var shared: UIApplication { UIApplication() }
    /// developer.apple.com/documentation/uikit/uiapplication/isidletimerdisabled
    open var isIdleTimerDisabled: Bool {
        get { false }
        set {}
    }
}

extension URL {
    /// developer.apple.com/documentation/foundation/url/applicationsupportdirectory
    public static var applicationSupportDirectory: URL { URL(fileURLWithPath: "/") }
}
