// swift-tools-version: 6.0
// The runner for iPhones and Macs. README.md says what each target is.
//
// EVALKIT_STUB_APPLE=1 adds stub modules in place of Apple's, so that the Core ML engine is
// type-checked on Linux. Such a build computes nothing; give it a --scratch-path of its own.

import Foundation
import PackageDescription

let isStubbed = ProcessInfo.processInfo.environment["EVALKIT_STUB_APPLE"] == "1"

let stubs: [Target] = isStubbed
    ? [
        .target(name: "CoreML", path: "Sources/StubCoreML"),
        .target(name: "StubDarwin"),
    ] : []

let engineDependencies: [Target.Dependency] = isStubbed
    ? ["RunnerCore", "CoreML", "StubDarwin"] : ["RunnerCore"]
let engineSettings: [SwiftSetting] = isStubbed ? [.define("EVALKIT_STUB_APPLE")] : []

let package = Package(
    name: "device-runner",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [
        .library(name: "RunnerCore", targets: ["RunnerCore"]),
        .library(name: "RunnerCoreML", targets: ["RunnerCoreML"]),
        .executable(name: "evalkit-runner", targets: ["evalkit-runner"]),
    ],
    targets: stubs + [
        .target(name: "RunnerCore"),
        .target(name: "RunnerSimulated", dependencies: ["RunnerCore"]),
        .target(
            name: "RunnerCoreML", dependencies: engineDependencies, swiftSettings: engineSettings),
        .executableTarget(
            name: "evalkit-runner", dependencies: ["RunnerCore", "RunnerSimulated", "RunnerCoreML"]),
        .testTarget(name: "RunnerCoreTests", dependencies: ["RunnerCore", "RunnerSimulated", "RunnerCoreML"]),
    ],
    swiftLanguageModes: [.v6]
)
