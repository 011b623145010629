//! Probes of the machine: what could explain a number.
//!
//! A probe that finds nothing returns `unknown` or `None`; it never stops a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where numbers were computed. No thread count: results do not depend on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Hash of the running program, in hexadecimal.
    pub binary_hash: String,
    /// Operating system, with its version if known.
    pub os: String,
    /// Processor model.
    pub cpu_model: String,
    /// SIMD features that the arithmetic may use: `avx2`, `fma`, `neon`, ...
    pub cpu_features: Vec<String>,
    /// Where the reference runs: `cpu`, `accelerate` or `metal`.
    pub device: String,
    /// Versions of the crates that do the arithmetic, by name.
    #[serde(default)]
    pub package_versions: BTreeMap<String, String>,
}

/// Crates whose version can change a number.
const ARITHMETIC: [&str; 7] =
    ["candle-core", "candle-nn", "gemm", "half", "pulp", "rayon", "tokenizers"];

const LOCK_FILE: &str = include_str!("../../Cargo.lock");

impl Environment {
    /// Describes this program and machine; `device` is where the reference runs.
    pub fn probe(device: &str) -> Environment {
        Environment {
            binary_hash: binary_hash().unwrap_or_else(|| UNKNOWN.to_owned()),
            os: os(),
            cpu_model: cpu_model().unwrap_or_else(|| UNKNOWN.to_owned()),
            cpu_features: cpu_features(),
            device: device.to_owned(),
            package_versions: package_versions(),
        }
    }
}

const UNKNOWN: &str = "unknown";

/// Versions of the arithmetic crates that this program was built with.
fn package_versions() -> BTreeMap<String, String> {
    let value = |line: Option<&str>, key: &str| {
        let text = line?.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?;
        Some(text.to_owned())
    };
    let mut versions = BTreeMap::new();
    for package in LOCK_FILE.split("[[package]]") {
        let mut lines = package.trim_start().lines();
        let name = value(lines.next(), "name");
        let version = value(lines.next(), "version");
        if let (Some(name), Some(version)) = (name, version)
            && ARITHMETIC.contains(&name.as_str())
        {
            versions.insert(name, version);
        }
    }
    versions
}

fn binary_hash() -> Option<String> {
    let file = std::fs::File::open(std::env::current_exe().ok()?).ok()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).ok()?;
    Some(hasher.finalize().to_hex().to_string())
}

/// The first line that a command of the system prints; `None` if it fails or prints nothing.
pub fn ask(command: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

fn os() -> String {
    if cfg!(target_os = "macos") {
        let version = ask("sw_vers", &["-productVersion"]);
        return format!("macOS {}", version.as_deref().unwrap_or(UNKNOWN));
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let kernel = kernel.as_deref().map_or(UNKNOWN, str::trim);
    format!("{} {kernel} {}", std::env::consts::OS, std::env::consts::ARCH)
}

fn cpu_model() -> Option<String> {
    if cfg!(target_os = "macos") {
        return ask("sysctl", &["-n", "machdep.cpu.brand_string"]);
    }
    model_in_cpuinfo(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// The processor's name in `/proc/cpuinfo`; on ARM it is made of numbers.
fn model_in_cpuinfo(text: &str) -> Option<String> {
    let field = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    field("model name").or_else(|| {
        let (implementer, part) = (field("CPU implementer")?, field("CPU part")?);
        Some(format!("implementer {implementer} part {part}"))
    })
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<String> {
    let known = [
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<String> {
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_twice_describes_the_machine_alike() {
        let environment = Environment::probe("cpu");
        assert_eq!(environment, Environment::probe("cpu"));
        assert_eq!(environment.binary_hash.len(), 64);
        assert!(environment.package_versions.contains_key("candle-core"), "{environment:?}");
    }

    /// `sysctl -nhw.model`, in one word, fails on a Mac.
    #[test]
    fn a_command_gets_its_arguments_one_by_one() {
        assert_eq!(ask("printf", &["%s,%s", "-n", "hw.model"]).as_deref(), Some("-n,hw.model"));
        assert_eq!(ask("false", &[]), None);
        assert_eq!(ask("true", &[]), None);
        assert_eq!(ask("/nonexistent/sysctl", &["-n", "hw.model"]), None);
    }

    #[test]
    fn processors_are_named_from_either_kind_of_cpuinfo() {
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n";
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(model_in_cpuinfo(x86).as_deref(), Some("Some CPU @ 3 GHz"));
        assert_eq!(model_in_cpuinfo(arm).as_deref(), Some("implementer 0x41 part 0xd0c"));
        assert_eq!(model_in_cpuinfo(""), None);
    }
}
