// swift-tools-version: 6.0
// The runner for iPhones and Macs. README.md says what each target is.
//
// Where there is no SDK of Apple's, EVALKIT_STUB_APPLE adds stand-ins for its modules
// (Stubs/README.md); give such a build a --scratch-path of its own.
//
//   EVALKIT_STUB_APPLE=check  builds the app and all that needs Apple's modules as for iOS, warnings as
//                             errors
//   EVALKIT_STUB_APPLE=tests  runs the tests of the Core ML engine as on a Mac; Darwin's stand-in is
//                             StubDarwin, because XCTest takes a system with a module Darwin for Apple's

import Foundation
import PackageDescription

let mode = ProcessInfo.processInfo.environment["EVALKIT_STUB_APPLE"]
let isCheck = mode == "check"
let isTests = mode == "tests"

func stub(_ name: String, at folder: String? = nil, needs: [String] = []) -> Target {
    .target(
        name: name, dependencies: needs.map { .byName(name: $0) }, path: "Stubs/\(folder ?? name)")
}

let stubs: [Target] =
    isCheck || isTests
    ? [
        stub("CoreML", needs: ["ObjectiveC"]), stub("ObjectiveC"), stub("CDarwin"), stub("os"),
        stub(isCheck ? "Darwin" : "StubDarwin", at: "Darwin", needs: ["CDarwin"]),
    ] + (isCheck ? ["CryptoKit", "Security", "SwiftUI", "UIKit"].map { stub($0) } : [])
    : []
let stubDependencies: [Target.Dependency] = stubs.map { .byName(name: $0.name) }
let settings: [SwiftSetting] =
    stubs.isEmpty ? [] : [.define("EVALKIT_STUB_APPLE"), .unsafeFlags(["-warnings-as-errors"])]
let engineSettings =
    settings + (isTests ? [.define("EVALKIT_STUB_TESTS")] : []) + (isCheck ? [.define("EVALKIT_STUB_IOS")] : [])

var targets: [Target] = [
    .target(name: "RunnerCore", dependencies: stubDependencies, swiftSettings: settings),
    .target(name: "RunnerSimulated", dependencies: ["RunnerCore"]),
    .target(
        name: "RunnerCoreML", dependencies: ["RunnerCore"] + stubDependencies,
        swiftSettings: engineSettings),
    .executableTarget(
        name: "evalkit-runner", dependencies: ["RunnerCore", "RunnerSimulated", "RunnerCoreML"]),
]
if isCheck {
    // The app, which Xcode builds; here it is type-checked and never linked.
    targets.append(
        .target(
            name: "App", dependencies: ["RunnerCore", "RunnerCoreML"] + stubDependencies, path: "App",
            swiftSettings: settings))
} else if isTests {
    targets.append(
        .testTarget(
            name: "RunnerCoreMLTests", dependencies: ["RunnerCore", "RunnerCoreML"] + stubDependencies))
} else {
    targets.append(
        .testTarget(
            name: "RunnerCoreTests", dependencies: ["RunnerCore", "RunnerSimulated", "RunnerCoreML"]))
}

let package = Package(
    name: "device-runner",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [
        .library(name: "RunnerCore", targets: ["RunnerCore"]),
        .library(name: "RunnerCoreML", targets: ["RunnerCoreML"]),
        .executable(name: "evalkit-runner", targets: ["evalkit-runner"]),
    ],
    targets: stubs + targets,
    swiftLanguageModes: [.v6]
)
