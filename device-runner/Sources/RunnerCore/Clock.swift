// Time that goes on while the machine sleeps and that nobody sets.

/// A moment.
public typealias Moment = ContinuousClock.Instant

extension ContinuousClock.Instant {
    /// Milliseconds since this moment.
    public var elapsedMs: Double { (self.duration(to: .now)).inMs }

    /// Milliseconds from this moment to another.
    public func ms(to other: Moment) -> Double { duration(to: other).inMs }
}

extension Duration {
    /// The same in milliseconds.
    var inMs: Double {
        Double(components.seconds) * 1e3 + Double(components.attoseconds) * 1e-15
    }
}
