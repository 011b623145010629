// A stand-in for SwiftUI's protocols, property wrappers and scenes, for type-checking on Linux.
// Actors are those of SwiftUI.swiftinterface and SwiftUICore.swiftinterface: App, Scene and View are on
// the main actor.

import Foundation

/// developer.apple.com/documentation/swiftui/app
@MainActor @preconcurrency
public protocol App {
    associatedtype Body: Scene
    @SceneBuilder @MainActor @preconcurrency var body: Body { get }
    @MainActor @preconcurrency init()
}

extension App {
    @MainActor @preconcurrency public static func main() {}
}

/// developer.apple.com/documentation/swiftui/scene
@MainActor @preconcurrency
public protocol Scene {
    associatedtype Body: Scene
    @SceneBuilder @MainActor @preconcurrency var body: Body { get }
}

/// developer.apple.com/documentation/swiftui/view
@MainActor @preconcurrency
public protocol View {
    associatedtype Body: View
    @ViewBuilder @MainActor @preconcurrency var body: Body { get }
}

extension Never: View, Scene {
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/scenebuilder
@resultBuilder
public struct SceneBuilder {
    public static func buildBlock<Content: Scene>(_ content: Content) -> Content { content }
}

/// The content of what has none.
func nothing() -> Never { fatalError("the stand-in shows nothing") }

/// Any view that has no content here.
public struct StubView: View {
    nonisolated public init() {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/viewbuilder
@resultBuilder
public struct ViewBuilder {
    public static func buildExpression<Content: View>(_ content: Content) -> Content { content }
    public static func buildBlock() -> StubView { StubView() }
    public static func buildBlock<each Content: View>(_ content: repeat each Content) -> StubView {
        StubView()
    }
    public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
    public static func buildEither<Content: View>(first: Content) -> StubView { StubView() }
    public static func buildEither<Content: View>(second: Content) -> StubView { StubView() }
}

extension Optional: View where Wrapped: View {
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/windowgroup
public struct WindowGroup<Content: View>: Scene {
    nonisolated public init(@ViewBuilder content: @escaping () -> Content) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/binding
@propertyWrapper
public struct Binding<Value> {
    public init() {}
    public var wrappedValue: Value {
        get { fatalError("the stand-in binds nothing") }
        nonmutating set {}
    }
}

/// developer.apple.com/documentation/swiftui/state
@propertyWrapper
public struct State<Value> {
    private let initial: Value
    public init(wrappedValue value: Value) { initial = value }
    public var wrappedValue: Value {
        get { initial }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { Binding() }
}

extension State: Sendable where Value: Sendable {}

/// developer.apple.com/documentation/swiftui/environment
@propertyWrapper
public struct Environment<Value> {
    private let read: () -> Value
    public init(_ path: KeyPath<EnvironmentValues, Value>) {
        read = { EnvironmentValues()[keyPath: path] }
    }
    public var wrappedValue: Value { read() }
}

/// developer.apple.com/documentation/swiftui/environmentvalues
public struct EnvironmentValues: Sendable {
    public var scenePhase: ScenePhase { .background }
}

/// developer.apple.com/documentation/swiftui/scenephase
public enum ScenePhase: Comparable, Sendable { case background, inactive, active }
