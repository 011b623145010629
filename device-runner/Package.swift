// swift-tools-version: 6.0
// The runner for iPhones and Macs. README.md says what each target is.
//
// EVALKIT_STUB_APPLE=1 adds stand-ins for Apple's modules (Stubs/README.md), so that all that needs
// them is type-checked and tested on Linux. Such a build computes nothing; give it a --scratch-path
// of its own.

import Foundation
import PackageDescription

let isStubbed = ProcessInfo.processInfo.environment["EVALKIT_STUB_APPLE"] == "1"

/// Apple's modules; what is Darwin's is in StubDarwin, because Darwin is this system's in part.
let stubNames = ["CoreML", "CryptoKit", "ObjectiveC", "Security", "StubDarwin", "SwiftUI", "UIKit"]
let stubDependencies: [Target.Dependency] = isStubbed ? stubNames.map { .byName(name: $0) } : []
let settings: [SwiftSetting] =
    isStubbed ? [.define("EVALKIT_STUB_APPLE"), .unsafeFlags(["-warnings-as-errors"])] : []

let stubs: [Target] = isStubbed
    ? stubNames.map {
        .target(name: $0, dependencies: $0 == "CoreML" ? ["ObjectiveC"] : [], path: "Stubs/\($0)")
    } + [
        // The app, which Xcode builds; here it is type-checked and never linked.
        .target(
            name: "App", dependencies: ["RunnerCore", "RunnerCoreML"] + stubDependencies, path: "App",
            swiftSettings: settings),
        .testTarget(
            name: "RunnerCoreMLTests", dependencies: ["RunnerCore", "RunnerCoreML"] + stubDependencies),
    ] : []

let package = Package(
    name: "device-runner",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [
        .library(name: "RunnerCore", targets: ["RunnerCore"]),
        .library(name: "RunnerCoreML", targets: ["RunnerCoreML"]),
        .executable(name: "evalkit-runner", targets: ["evalkit-runner"]),
    ],
    targets: stubs + [
        .target(name: "RunnerCore", dependencies: stubDependencies, swiftSettings: settings),
        .target(name: "RunnerSimulated", dependencies: ["RunnerCore"]),
        .target(
            name: "RunnerCoreML", dependencies: ["RunnerCore"] + stubDependencies,
            swiftSettings: settings),
        .executableTarget(
            name: "evalkit-runner", dependencies: ["RunnerCore", "RunnerSimulated", "RunnerCoreML"]),
        .testTarget(name: "RunnerCoreTests", dependencies: ["RunnerCore", "RunnerSimulated", "RunnerCoreML"]),
    ],
    swiftLanguageModes: [.v6]
)
