//! How codes are found: from the weights alone, or calibrated on the inputs that a layer gets.
//!
//! A method does not change the format: a calibrated `vector2-d4` decodes like any other. It prints
//! as options after the recipe's own: `-cal` for all steps, `-cal-noeq-nodesc` with some switched
//! off, `-ft` (which implies `-cal`) if the whole model is tuned afterwards, and `-blocks` with
//! either of them if each block is tuned. Without these options codes are found from the weights
//! alone, unless a plan calibrates by default, which `-free` prevents.

use std::fmt;

use super::recipe::{Palette, Recipe, TableMaker};
use crate::error::{Error, Result};

/// How the codes of a part are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// No option: from the weights alone, unless a plan calibrates by default.
    #[default]
    Unspecified,
    /// `-free`: from the weights alone.
    DataFree,
    /// `-cal`: such that the layer's outputs on a calibration text have the least error.
    Calibrated(Steps),
}

/// The steps of calibrated coding. Those of coding can be switched off, to measure what each gains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Steps {
    /// Columns are scaled to equal spread, and other tensors by the inverse factors; off: `-noeq`.
    pub equalise: bool,
    /// Targets compensate for changed inputs and for the errors of earlier layers; off: `-norep`.
    pub repair: bool,
    /// Later columns compensate for the errors of earlier ones; off: `-nocomp`.
    pub compensate: bool,
    /// Tables and scales are fitted to the codes by least squares; off: `-noalt`.
    pub alternate: bool,
    /// Codes are improved one at a time; off: `-nodesc`.
    pub descend: bool,
    /// `-blocks`: tables, scales, norms and codes of each block are tuned by gradients, so that the
    /// block's output comes close to the reference's.
    pub tune_blocks: bool,
    /// `-ft`: tables, scales and norms of all blocks are then tuned together, so that the logits
    /// come close to the reference's.
    pub tune_whole: bool,
}

/// `-free`, without its dash.
const DATA_FREE: &str = "free";
/// `-cal`, without its dash.
const CALIBRATED: &str = "cal";
/// `-ft`, without its dash.
const FINE_TUNED: &str = "ft";
/// `-blocks`, without its dash.
const BLOCKS: &str = "blocks";

impl Steps {
    /// `-cal`: every step of coding, and no tuning.
    pub const ALL: Steps = Steps {
        equalise: true,
        repair: true,
        compensate: true,
        alternate: true,
        descend: true,
        tune_blocks: false,
        tune_whole: false,
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

    /// Whether anything is tuned by gradients, which needs windows that are held out.
    pub fn is_tuned(self) -> bool {
        self.tune_blocks || self.tune_whole
    }

    /// The steps without tuning.
    pub fn untuned(self) -> Steps {
        Steps { tune_blocks: false, tune_whole: false, ..self }
    }

    /// The steps with the one of index `switch`, below [`SWITCHES`](Self::SWITCHES), also off.
    pub fn without(mut self, switch: usize) -> Steps {
        if let Some((_, step)) = self.switches().into_iter().nth(switch) {
            *step = false;
        }
        self
    }

    /// The names of the steps that are on, after their options: `eq`, `rep`, …, `blocks`, `ft`.
    pub fn words(mut self) -> Vec<&'static str> {
        let Steps { tune_blocks, tune_whole, .. } = self;
        let on = self.switches().into_iter().filter(|(_, is_on)| **is_on);
        let coding = on.map(|(option, _)| option.trim_start_matches("no"));
        let tuning = [(tune_blocks, BLOCKS), (tune_whole, FINE_TUNED)].into_iter();
        coding.chain(tuning.filter(|(is_on, _)| *is_on).map(|(_, word)| word)).collect()
    }
}

impl Method {
    /// The steps, or `None` if codes are found from the weights alone.
    pub fn steps(self) -> Option<Steps> {
        match self {
            Method::Unspecified | Method::DataFree => None,
            Method::Calibrated(steps) => Some(steps),
        }
    }

    /// Whether an option of a recipe, without its dash, says how codes are found.
    pub(super) fn knows(option: &str) -> bool {
        let mut steps = Steps::ALL;
        let is_switch = steps.switches().iter().any(|(name, _)| *name == option);
        is_switch || [DATA_FREE, CALIBRATED, FINE_TUNED, BLOCKS].contains(&option)
    }

    /// Reads options that it [`knows`](Method::knows). Fails (input) if one repeats, or if a step
    /// is switched without `-cal` or `-ft`.
    pub(super) fn parse(options: &[&str]) -> Result<Self> {
        let mut steps = Steps {
            tune_blocks: options.contains(&BLOCKS),
            tune_whole: options.contains(&FINE_TUNED),
            ..Steps::ALL
        };
        for (i, option) in options.iter().enumerate() {
            if options[..i].contains(option) {
                return Err(Error::input(format!("option `-{option}` repeats")));
            }
            for (name, step) in steps.switches() {
                *step &= name != *option;
            }
        }
        match options.first() {
            None => Ok(Method::Unspecified),
            Some(_) if options == [DATA_FREE] => Ok(Method::DataFree),
            Some(_) if options.contains(&DATA_FREE) => Err(Error::input(
                "`-free` means without calibration, so `-cal` and its steps are excluded",
            )
            .hint("keep either `-free` or the other options")),
            Some(_) if steps.tune_whole || options.contains(&CALIBRATED) => {
                Ok(Method::Calibrated(steps))
            }
            Some(option) => {
                Err(Error::input(format!("option `-{option}` switches a step of `-cal`"))
                    .hint(format!("use `-cal-{option}`")))
            }
        }
    }

    /// Fails (input) if `recipe` cannot be calibrated: it has no codes, fixed or lossless tables,
    /// or pruned weights.
    pub fn check(self, recipe: &Recipe) -> Result<()> {
        let refuse = |why: &str| {
            Err(Error::input(format!("this recipe cannot be calibrated: {why}")).hint(
                "calibration works for vectors, integers, and palettes without -uniform, -unique or pruning",
            ))
        };
        match (self, recipe) {
            (Method::Unspecified | Method::DataFree, _)
            | (_, Recipe::Linear(_) | Recipe::Vector(_)) => Ok(()),
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
    /// The options with their dashes; empty for [`Method::Unspecified`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = match *self {
            Method::Unspecified => return f.pad(""),
            Method::DataFree => return f.pad(&format!("-{DATA_FREE}")),
            Method::Calibrated(steps) => steps,
        };
        let first = if steps.tune_whole { FINE_TUNED } else { CALIBRATED };
        let mut text = format!("-{first}");
        for (name, step) in steps.switches() {
            if !*step {
                text.push_str(&format!("-{name}"));
            }
        }
        if steps.tune_blocks {
            text.push_str(&format!("-{BLOCKS}"));
        }
        f.pad(&text)
    }
}
