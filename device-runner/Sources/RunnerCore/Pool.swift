// Autorelease pools. Core ML hands out what it computes as autoreleased objects, and a thread that the
// runner started releases them only when it ends: so every load, plan and prediction has a pool.

#if canImport(ObjectiveC)
    @_exported import ObjectiveC
#else
    /// What Objective-C calls the same; here nothing is autoreleased.
    public func autoreleasepool<Result>(invoking body: () throws -> Result) rethrows -> Result {
        try body()
    }
#endif
