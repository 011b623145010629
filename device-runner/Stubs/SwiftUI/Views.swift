// Views and modifiers of the stand-in; see SwiftUI.swift.

import Foundation

extension View {
    /// developer.apple.com/documentation/swiftui/view/onappear(perform:)
    nonisolated public func onAppear(perform action: (() -> Void)? = nil) -> some View { StubView() }
    /// developer.apple.com/documentation/swiftui/view/onchange(of:initial:_:)
    nonisolated public func onChange<V: Equatable>(
        of value: V, initial: Bool = false, _ action: @escaping (V, V) -> Void
    ) -> some View { StubView() }
    /// developer.apple.com/documentation/swiftui/view/navigationtitle(_:)
    nonisolated public func navigationTitle<S: StringProtocol>(_ title: S) -> some View { StubView() }
    /// developer.apple.com/documentation/swiftui/view/font(_:)
    nonisolated public func font(_ font: Font?) -> some View { StubView() }
    /// developer.apple.com/documentation/swiftui/view/foregroundstyle(_:)
    nonisolated public func foregroundStyle<S: ShapeStyle>(_ style: S) -> some View { StubView() }
    /// developer.apple.com/documentation/swiftui/view/disabled(_:)
    nonisolated public func disabled(_ disabled: Bool) -> some View { StubView() }
    /// developer.apple.com/documentation/swiftui/view/autocorrectiondisabled(_:)
    nonisolated public func autocorrectionDisabled(_ disable: Bool = true) -> some View { StubView() }
    /// developer.apple.com/documentation/swiftui/view/textinputautocapitalization(_:)
    nonisolated public func textInputAutocapitalization(
        _ autocapitalization: TextInputAutocapitalization?
    ) -> some View { StubView() }
}

/// developer.apple.com/documentation/swiftui/textinputautocapitalization
public struct TextInputAutocapitalization: Sendable {
    public static var never: TextInputAutocapitalization { .init() }
}

/// developer.apple.com/documentation/swiftui/font
public struct Font: Hashable, Sendable {
    public static let body = Font()
    public static let footnote = Font()
    public func monospaced() -> Font { self }
}

/// developer.apple.com/documentation/swiftui/shapestyle
public protocol ShapeStyle: Sendable {}
/// developer.apple.com/documentation/swiftui/hierarchicalshapestyle
public struct HierarchicalShapeStyle: ShapeStyle {}
extension ShapeStyle where Self == HierarchicalShapeStyle {
    public static var secondary: HierarchicalShapeStyle { .init() }
}

/// developer.apple.com/documentation/swiftui/text
public struct Text: View {
    nonisolated public init<S: StringProtocol>(_ content: S) {}
    nonisolated public func font(_ font: Font?) -> Text { self }
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/navigationstack
public struct NavigationStack<Root: View>: View {
    nonisolated public init(@ViewBuilder root: () -> Root) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/list
public struct List<Content: View>: View {
    nonisolated public init(@ViewBuilder content: () -> Content) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/section
public struct Section<Content: View>: View {
    nonisolated public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/foreach
public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content: View>: View {
    nonisolated public init(
        _ data: Data, id: KeyPath<Data.Element, ID>,
        @ViewBuilder content: @escaping (Data.Element) -> Content
    ) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/textfield
public struct TextField: View {
    nonisolated public init<S: StringProtocol>(_ title: S, text: Binding<String>) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/button: the action is on the main actor
public struct Button: View {
    nonisolated public init<S: StringProtocol>(_ title: S, action: @escaping @MainActor () -> Void) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/labeledcontent
public struct LabeledContent: View {
    nonisolated public init<S1: StringProtocol, S2: StringProtocol>(_ title: S1, value: S2) {}
    public var body: Never { return nothing() }
}

/// developer.apple.com/documentation/swiftui/progressview
public struct ProgressView: View {
    nonisolated public init() {}
    nonisolated public init<V: BinaryFloatingPoint>(value: V?, total: V = 1.0) {}
    public var body: Never { return nothing() }
}
