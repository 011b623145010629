//! Properties of calibrated coding.
