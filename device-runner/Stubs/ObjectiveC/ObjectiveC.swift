// A stand-in for Objective-C's autorelease pools: objects that are put into the pool of this thread
// live until that pool ends. Without a pool they live for ever, as they would until the thread ends.

import Foundation

/// developer.apple.com/documentation/objectivec/autoreleasepool(invoking:)
public func autoreleasepool<Result>(invoking body: () throws -> Result) rethrows -> Result {
    let pools = Pools.ofThisThread
    pools.open.append([])
    defer { pools.open.removeLast() }
    return try body()
}

/// What tests and other stubs know of the pools.
public enum AutoreleasePool {
    /// Keeps an object until the innermost pool of this thread ends.
    public static func add(_ object: AnyObject) {
        let pools = Pools.ofThisThread
        if pools.open.isEmpty { pools.open.append([]) }
        pools.open[pools.open.count - 1].append(object)
    }

    /// Objects that are kept on this thread.
    public static var count: Int { Pools.ofThisThread.open.reduce(0) { $0 + $1.count } }
}

/// The pools of a thread, the innermost last.
private final class Pools {
    var open: [[AnyObject]] = []

    static var ofThisThread: Pools {
        let key = "evalkit.stub.pools"
        if let found = Thread.current.threadDictionary[key] as? Pools { return found }
        let made = Pools()
        Thread.current.threadDictionary[key] = made
        return made
    }
}
