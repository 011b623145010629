// Whether there is Core ML here, for callers that must not know.

import RunnerCore

/// The Core ML engine and the probe for Apple's systems; nothing elsewhere.
public func coreMLEngine() -> (any Engine, any Probe)? {
    #if canImport(CoreML)
        (CoreMLEngine(), AppleProbe())
    #else
        nil
    #endif
}
