//! Flags that say how packages are measured on devices.

use std::time::Duration;

use clap::Args;

use crate::device::client::Token;
use crate::device::protocol::message::{ComputeUnits, TOKEN_VARIABLE};
use crate::error::{Error, Result};
use crate::run::measure::{MeasureOptions, UNITS};

/// Longest that a device may be waited for.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How packages are measured.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// Tokens of the prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    prompt_tokens: usize,
    /// Tokens that are produced per repetition
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    generate: usize,
    /// Repetitions that are kept per package and device; packages take turns
    #[arg(long, value_name = "N", default_value_t = 8)]
    repetitions: usize,
    /// Then decode on end for this long, such as 10m, and show how the speed decays
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    sustained: Option<Duration>,
    /// Longest wait for a device to be cool, in the foreground and out of low-power mode
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "15m")]
    wait: Duration,
    /// Where packages may compute: cpu, cpu-and-gpu, cpu-and-neural-engine or all
    #[arg(long, value_name = "UNITS", default_value = "all", value_parser = parse_units)]
    compute_units: ComputeUnits,
    /// Token that the runner was started with: 32 hexadecimal digits [default: the one that was
    /// kept when the app was installed]
    #[arg(long, value_name = "TOKEN", env = TOKEN_VARIABLE, hide_env_values = true)]
    token: Option<Token>,
}

impl MeasureArgs {
    /// The flags as plain options.
    pub fn options(&self) -> MeasureOptions {
        MeasureOptions {
            prompt_tokens: self.prompt_tokens,
            generate: self.generate,
            repetitions: self.repetitions,
            sustained: self.sustained,
            wait: self.wait,
            compute_units: self.compute_units,
            token: self.token.clone(),
        }
    }
}

fn parse_time(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text).map_err(|e| {
        Error::input(format!("expected a time such as 10m or 30s, found {text:?}")).because(e)
    })?;
    if time > MAX_WAIT {
        return Err(Error::input(format!("expected at most a day, found {text}")));
    }
    Ok(time)
}

fn parse_units(text: &str) -> Result<ComputeUnits> {
    let found = UNITS.iter().find(|(name, _)| *name == text);
    found.map(|(_, units)| *units).ok_or_else(|| {
        let names: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
        Error::input(format!("expected one of {}, found {text:?}", names.join(", ")))
    })
}
