//! How codes are found: from the weights alone, or calibrated on what the layer's inputs look like.
//!
//! A method changes no byte of the format: a calibrated `vector2-d4` decodes like any other. It
//! prints as options after the recipe's own, `-cal` for all steps, `-cal-noeq-nodesc` with some
//! switched off, and `-ft`, which implies `-cal`, where blocks are tuned afterwards. Without any of
//! them codes come from the weights alone; `-free` says so, where a plan would choose otherwise.

use std::fmt;

use super::recipe::{Palette, Recipe, TableMaker};
use crate::error::{Error, Result};

/// How the codes of a part are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// From the weights alone, unless a plan with a text knows better.
    #[default]
    Unsaid,
    /// `-free`: from the weights alone.
    DataFree,
    /// `-cal`: by the error of the layer's outputs on calibration text.
    Calibrated(Steps),
}

/// The steps of calibrated coding; each can be switched off so that its worth can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Steps {
    /// Columns are brought to equal spread by factors that other tensors take back; off: `-noeq`.
    pub equalise: bool,
    /// Targets make up for changed inputs and for what earlier layers lost; off: `-norep`.
    pub repair: bool,
    /// Later columns make up for the errors of earlier ones; off: `-nocomp`.
    pub compensate: bool,
    /// Tables and scales are fitted to the codes by least squares; off: `-noalt`.
    pub alternate: bool,
    /// Codes are improved one at a time; off: `-nodesc`.
    pub descend: bool,
    /// `-ft`: tables, scales, norms and codes of each block are tuned by gradients afterwards, then
    /// tables, scales and norms of all blocks together.
    pub fine_tune: bool,
}

/// `-free`, without its dash.
const DATA_FREE: &str = "free";
/// `-cal`, without its dash.
const CALIBRATED: &str = "cal";
/// `-ft`, without its dash.
const FINE_TUNED: &str = "ft";

impl Steps {
    /// Every step of coding, without tuning afterwards: `-cal`.
    pub const ALL: Steps = Steps {
        equalise: true,
        repair: true,
        compensate: true,
        alternate: true,
        descend: true,
        fine_tune: false,
    };

    /// How many steps can be switched off.
    pub const SWITCHES: usize = 5;

    /// The steps that can be switched off, by the option that does it.
    fn switches(&mut self) -> [(&'static str, &mut bool); Self::SWITCHES] {
        [
            ("noeq", &mut self.equalise),
            ("norep", &mut self.repair),
            ("nocomp", &mut self.compensate),
            ("noalt", &mut self.alternate),
            ("nodesc", &mut self.descend),
        ]
    }

    /// The steps with one of [`SWITCHES`](Self::SWITCHES) off as well.
    pub fn without(mut self, switch: usize) -> Steps {
        if let Some((_, step)) = self.switches().into_iter().nth(switch) {
            *step = false;
        }
        self
    }

    /// The steps that are on, by the options that switch them off or on: `eq`, `rep`, …, `ft`.
    pub fn words(mut self) -> Vec<&'static str> {
        let tuned = self.fine_tune.then_some(FINE_TUNED);
        let on = self.switches().into_iter().filter(|(_, is_on)| **is_on);
        on.map(|(option, _)| option.trim_start_matches("no")).chain(tuned).collect()
    }
}

impl Method {
    /// The steps, where there are any.
    pub fn steps(self) -> Option<Steps> {
        match self {
            Method::Unsaid | Method::DataFree => None,
            Method::Calibrated(steps) => Some(steps),
        }
    }

    /// Whether an option of a recipe, without its dash, says how codes are found.
    pub(super) fn knows(option: &str) -> bool {
        let mut steps = Steps::ALL;
        let is_switch = steps.switches().iter().any(|(name, _)| *name == option);
        is_switch || [DATA_FREE, CALIBRATED, FINE_TUNED].contains(&option)
    }

    /// Reads options that it [`knows`](Method::knows). Fails (input) where one repeats, and where a
    /// step is switched off without `-cal` or `-ft`.
    pub(super) fn parse(options: &[&str]) -> Result<Self> {
        let mut steps = Steps::ALL;
        for (i, option) in options.iter().enumerate() {
            if options[..i].contains(option) {
                return Err(Error::input(format!("option `-{option}` repeats")));
            }
            steps.fine_tune |= *option == FINE_TUNED;
            for (name, step) in steps.switches() {
                *step &= name != *option;
            }
        }
        match options.first() {
            None => Ok(Method::Unsaid),
            Some(_) if options == [DATA_FREE] => Ok(Method::DataFree),
            Some(_) if options.contains(&DATA_FREE) => {
                Err(Error::input("`-free` codes without a text, the other options need one")
                    .hint("keep one of them"))
            }
            Some(_) if steps.fine_tune || options.contains(&CALIBRATED) => {
                Ok(Method::Calibrated(steps))
            }
            Some(option) => {
                Err(Error::input(format!("option `-{option}` switches off a step of `-cal`"))
                    .hint(format!("use `-cal-{option}`")))
            }
        }
    }

    /// Fails (input) for a method that `recipe` cannot have: one of weights that have nothing to
    /// choose, of fixed or lossless tables, and of pruned weights.
    pub fn check(self, recipe: &Recipe) -> Result<()> {
        let refuse = |why: &str| {
            Err(Error::input(format!("{why}, which calibration cannot change")).hint(
                "calibrated are vectors, integers, and palettes without -uniform, -unique and pruning",
            ))
        };
        match (self, recipe) {
            (Method::Unsaid | Method::DataFree, _) | (_, Recipe::Linear(_) | Recipe::Vector(_)) => {
                Ok(())
            }
            (_, Recipe::Palette(Palette { pruning: Some(_), .. })) => {
                refuse("pruning chooses weights by their magnitude")
            }
            (_, Recipe::Palette(palette)) => match palette.maker {
                TableMaker::KMeans => Ok(()),
                TableMaker::Uniform => refuse("`-uniform` has evenly spaced tables"),
                TableMaker::Unique => refuse("`-unique` is lossless"),
            },
            (_, Recipe::Mxfp4) => refuse("`mxfp4` has a fixed table"),
            (_, Recipe::Reference | Recipe::Half) => refuse("this recipe has no codes"),
        }
    }
}

impl fmt::Display for Method {
    /// The options with their dashes; nothing for the method that needs none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = match *self {
            Method::Unsaid => return f.pad(""),
            Method::DataFree => return f.pad(&format!("-{DATA_FREE}")),
            Method::Calibrated(steps) => steps,
        };
        let first = if steps.fine_tune { FINE_TUNED } else { CALIBRATED };
        let mut text = format!("-{first}");
        for (name, step) in steps.switches() {
            if !*step {
                text.push_str(&format!("-{name}"));
            }
        }
        f.pad(&text)
    }
}
