//! The backend of the reference: which there are, which is used, and what has to hold before its
//! device is opened.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use candle_core::Device;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

/// candle reads this variable when it compiles Metal's kernels. Unless it is set to a value that
/// means no, kernels are compiled with fast math, under which NaN and infinities are undefined.
pub const FAST_MATH: &str = "CANDLE_METAL_ENABLE_FAST_MATH";

/// Whether candle's matrix products on the CPU are Accelerate's: in Cargo.toml, those of macOS are.
const HAS_ACCELERATE: bool = cfg!(target_os = "macos");

/// What computes on the CPU in this process, once it has opened a device. Tensors of both backends are
/// candle's tensors of the CPU, so that a process can use only one of them.
static ON_CPU: OnceLock<Backend> = OnceLock::new();

/// What computes the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// This crate's operations and gemm's products: the same bits in every run.
    Cpu,
    /// This crate's operations and the products of Apple's Accelerate, on the CPU.
    Accelerate,
    /// candle's operations on an Apple GPU.
    Metal,
}

impl Backend {
    /// All of them, the fastest first.
    const ALL: [Backend; 3] = [Backend::Metal, Backend::Accelerate, Backend::Cpu];

    /// The name in flags and records.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::Accelerate => "accelerate",
            Backend::Metal => "metal",
        }
    }

    /// The name in records, which leave out the CPU.
    pub fn recorded(self) -> Option<String> {
        (self != Backend::Cpu).then(|| self.name().to_owned())
    }

    /// The backend named `asked`; without a name the fastest one that this program and machine have.
    ///
    /// # Errors
    /// An input error for a name that is none, or of a backend that this program was built without; a
    /// surroundings error for a GPU that this machine does not have.
    pub fn resolve(asked: Option<&str>) -> Result<Backend> {
        let asked = asked.map(str::parse).transpose()?;
        choose(asked, Backend::is_compiled_in, Backend::is_there)
    }

    /// The backend that computes tensors of `device`.
    pub fn of(device: &Device) -> Backend {
        match device {
            Device::Cpu => ON_CPU.get().copied().unwrap_or(Backend::Cpu),
            _ => Backend::Metal,
        }
    }

    fn is_compiled_in(self) -> bool {
        match self {
            Backend::Cpu => true,
            Backend::Accelerate => HAS_ACCELERATE,
            Backend::Metal => cfg!(feature = "metal"),
        }
    }

    /// Whether the machine has it, and this process does not compute by another one.
    fn is_there(self) -> bool {
        match self {
            Backend::Metal => has_gpu(),
            on_cpu => ON_CPU.get().is_none_or(|used| *used == on_cpu),
        }
    }

    /// The error for a backend that this program was built without.
    fn not_compiled_in(self) -> Error {
        let hint = match self {
            Backend::Cpu => "every build has it",
            Backend::Accelerate => "build evalkit on a Mac: every build there has it",
            Backend::Metal => {
                "build evalkit on a Mac with `cargo build --release --features metal`"
            }
        };
        Error::input(format!("this evalkit was built without the backend {self}"))
            .at("--backend")
            .hint(hint)
    }

    /// The error for a backend that is compiled in, but not there.
    fn not_there(self) -> Error {
        let error = match self {
            Backend::Metal => Error::surroundings("expected a GPU for Metal, found none"),
            Backend::Cpu | Backend::Accelerate => other_on_cpu(self),
        };
        error.at("--backend").hint("leave the flag out for the fastest backend that is there")
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Backend> {
        Backend::ALL.into_iter().find(|backend| backend.name() == text).ok_or_else(|| {
            Error::input(format!("expected cpu, accelerate or metal, found {text:?}"))
                .at("--backend")
        })
    }
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The backend that is asked for, otherwise the fastest one that is compiled in and there.
fn choose(
    asked: Option<Backend>,
    is_compiled_in: impl Fn(Backend) -> bool,
    is_there: impl Fn(Backend) -> bool,
) -> Result<Backend> {
    let Some(asked) = asked else {
        let fastest = Backend::ALL.into_iter().find(|one| is_compiled_in(*one) && is_there(*one));
        return Ok(fastest.unwrap_or(Backend::Cpu));
    };
    if !is_compiled_in(asked) {
        return Err(asked.not_compiled_in());
    }
    if is_there(asked) { Ok(asked) } else { Err(asked.not_there()) }
}

/// Opens the device that the forward pass runs on.
///
/// # Errors
/// A surroundings error if the machine has no GPU for Metal, or if Metal's fast math is on; an input
/// error if this process computes by another backend of the CPU.
pub fn device(backend: Backend) -> Result<Device> {
    match backend {
        Backend::Metal => {
            check_fast_math(std::env::var(FAST_MATH).ok().as_deref())?;
            gpu()
        }
        on_cpu => settle(&ON_CPU, on_cpu).map(|()| Device::Cpu),
    }
}

/// Fixes what computes on the CPU. Refuses a second backend.
fn settle(used: &OnceLock<Backend>, backend: Backend) -> Result<()> {
    if *used.get_or_init(|| backend) == backend { Ok(()) } else { Err(other_on_cpu(backend)) }
}

fn other_on_cpu(asked: Backend) -> Error {
    Error::input(format!(
        "expected one backend of the CPU in a process, found {asked} after another one"
    ))
    .hint("use another process for it, or the same backend throughout")
}

#[cfg(feature = "metal")]
fn has_gpu() -> bool {
    !candle_metal_kernels::metal::Device::all().is_empty()
}

#[cfg(not(feature = "metal"))]
fn has_gpu() -> bool {
    false
}

#[cfg(feature = "metal")]
fn gpu() -> Result<Device> {
    // candle panics if there is no GPU.
    if !has_gpu() {
        return Err(Backend::Metal.not_there());
    }
    Device::new_metal(0).map_err(|e| Error::surroundings("cannot open the Metal device").because(e))
}

#[cfg(not(feature = "metal"))]
fn gpu() -> Result<Device> {
    Err(Backend::Metal.not_compiled_in())
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
    use super::Backend::{Accelerate, Cpu, Metal};
    use super::*;

    fn chosen(asked: Option<Backend>, compiled: &[Backend], there: &[Backend]) -> Result<Backend> {
        choose(asked, |one| compiled.contains(&one), |one| there.contains(&one))
    }

    #[test]
    fn the_default_is_the_fastest_that_is_compiled_in_and_there() {
        for (compiled, there, expected) in [
            (&[Cpu, Accelerate, Metal][..], &[Cpu, Accelerate, Metal][..], Metal),
            (&[Cpu, Accelerate, Metal], &[Cpu, Accelerate], Accelerate),
            (&[Cpu, Accelerate], &[Cpu, Accelerate, Metal], Accelerate),
            (&[Cpu], &[Cpu, Metal], Cpu),
            // A process that computes on the CPU goes on with that.
            (&[Cpu, Accelerate], &[Cpu], Cpu),
        ] {
            assert_eq!(chosen(None, compiled, there).unwrap(), expected);
        }
    }

    #[test]
    fn a_backend_is_used_if_it_is_asked_for_or_refused_with_what_to_do() {
        let mac = [Cpu, Accelerate, Metal];
        for backend in mac {
            assert_eq!(chosen(Some(backend), &mac, &mac).unwrap(), backend);
        }
        let error = chosen(Some(Metal), &[Cpu, Accelerate], &mac).unwrap_err();
        assert_eq!(error.exit().code(), 2);
        assert!(error.to_string().contains("--features metal"), "{error}");
        let error = chosen(Some(Accelerate), &[Cpu], &mac).unwrap_err();
        assert_eq!(error.exit().code(), 2);
        assert!(error.to_string().contains("on a Mac"), "{error}");
        let error = chosen(Some(Metal), &mac, &[Cpu, Accelerate]).unwrap_err();
        assert_eq!(error.exit().code(), 3);
        assert!(error.to_string().contains("found none"), "{error}");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().parse::<Backend>().unwrap(), backend);
        }
        let error = "cuda".parse::<Backend>().unwrap_err();
        assert_eq!(error.exit().code(), 2);
        assert!(error.to_string().contains("expected cpu, accelerate or metal, found \"cuda\""));
    }

    #[test]
    fn a_process_computes_by_one_backend_of_the_cpu() {
        let used = OnceLock::new();
        settle(&used, Accelerate).unwrap();
        settle(&used, Accelerate).unwrap();
        assert_eq!(settle(&used, Cpu).unwrap_err().exit().code(), 2);
    }

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
}
