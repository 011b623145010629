//! Flags that say how packages are measured on devices.

use std::time::Duration;

use clap::Args;

use crate::device::client::Token;
use crate::device::protocol::message::ComputeUnits;
use crate::error::{Error, Result};
use crate::run::measure::{MeasureOptions, UNITS};

/// Largest accepted time: a day.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// How packages are measured.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// Tokens of the prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    prompt_tokens: usize,
    /// Tokens generated per repetition
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    generate: usize,
    /// Repetitions that count, per package and device
    ///
    /// Packages take turns.
    #[arg(long, value_name = "N", default_value_t = 8)]
    repetitions: usize,
    /// After the repetitions, generate for this long, such as 10m
    ///
    /// Generates continuously and shows how the speed drops as the device heats up.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    sustained: Option<Duration>,
    /// Longest wait until a device is cool and ready
    ///
    /// Ready means in the foreground and out of low-power mode.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "15m")]
    wait: Duration,
    /// cpu, cpu-and-gpu, cpu-and-neural-engine or all [default: as the packages say]
    ///
    /// model.json says cpu-and-gpu if a package is reported to fail on the Neural Engine, otherwise all.
    #[arg(long, value_name = "UNITS", value_parser = parse_units)]
    compute_units: Option<ComputeUnits>,
    /// Access token that the runner was started with
    ///
    /// 32 hexadecimal digits. The default is the one that evalkit devices install saved, or else
    /// EVALKIT_RUNNER_TOKEN.
    #[arg(long, value_name = "TOKEN")]
    token: Option<Token>,
}

impl MeasureArgs {
    /// The flags as plain options.
    ///
    /// # Errors
    /// Input if the token in the environment is not valid.
    pub fn options(&self) -> Result<MeasureOptions> {
        Ok(MeasureOptions {
            prompt_tokens: self.prompt_tokens,
            generate: self.generate,
            repetitions: self.repetitions,
            sustained: self.sustained,
            wait: self.wait,
            compute_units: self.compute_units,
            token: self.token.clone(),
            fallback_token: Token::of_environment()?,
        })
    }
}

fn parse_time(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text).map_err(|e| {
        Error::input(format!("expected a time such as 10m or 30s, found {text:?}")).because(e)
    })?;
    if time > MAX_TIME {
        return Err(Error::input(format!("expected at most 24h, found {text}")));
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
