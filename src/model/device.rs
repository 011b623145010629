//! The device that the reference runs on, and what has to hold before it is opened.

use candle_core::Device;

use crate::error::{Error, Result};

/// candle reads this variable when it compiles Metal's kernels. Unless it is set to a value that
/// means no, kernels are compiled with fast math, under which NaN and infinities are undefined.
pub const FAST_MATH: &str = "CANDLE_METAL_ENABLE_FAST_MATH";

/// The device that the forward pass runs on.
///
/// # Errors
/// A surroundings error if the program was built for a GPU and the machine has none, or if Metal's
/// fast math is on.
pub fn device() -> Result<Device> {
    if !cfg!(feature = "metal") {
        return Ok(Device::Cpu);
    }
    check_fast_math(std::env::var(FAST_MATH).ok().as_deref())?;
    gpu()
}

#[cfg(feature = "metal")]
fn gpu() -> Result<Device> {
    // candle panics if there is no GPU.
    if candle_metal_kernels::metal::Device::all().is_empty() {
        return Err(no_gpu());
    }
    Device::new_metal(0).map_err(|e| Error::surroundings("cannot open the Metal device").because(e))
}

#[cfg(not(feature = "metal"))]
fn gpu() -> Result<Device> {
    Err(no_gpu())
}

fn no_gpu() -> Error {
    Error::surroundings("this evalkit was built for Metal, and this machine has no GPU for it")
        .hint("use an evalkit that was built without the feature metal; it runs on the CPU")
}

/// Fails if candle would compile kernels with fast math.
fn check_fast_math(variable: Option<&str>) -> Result<()> {
    // candle-metal-kernels 0.11.1, src/utils.rs, line 363.
    let is_on = variable.is_none_or(|value| ["true", "t", "yes", "y", "1"].contains(&value));
    if !is_on {
        return Ok(());
    }
    let found = variable.unwrap_or("nothing");
    Err(Error::surroundings(format!(
        "expected 0, which switches Metal's fast math off, found {found}: with it, NaN and \
         infinities in a result are lost"
    ))
    .at(FAST_MATH)
    .hint(format!("export {FAST_MATH}=0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_math_is_refused_unless_the_variable_says_no() {
        for value in [Some("0"), Some("false"), Some("")] {
            check_fast_math(value).unwrap();
        }
        for value in [None, Some("1"), Some("true")] {
            let error = check_fast_math(value).unwrap_err().to_string();
            assert!(error.contains("export CANDLE_METAL_ENABLE_FAST_MATH=0"), "{error}");
        }
    }

    #[test]
    fn a_machine_without_a_gpu_is_told_what_to_use() {
        assert_eq!(no_gpu().exit().code(), 3);
        assert!(no_gpu().to_string().contains("built without the feature metal"));
    }
}
