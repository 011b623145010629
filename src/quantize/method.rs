//! How codes are found: from the weights alone, or calibrated on what the layer's inputs look like.
//!
//! A method changes no byte of the format: a calibrated `vector2-d4` decodes like any other. It
//! prints as options after the recipe's own, `-cal` for all steps, `-cal-noeq-nodesc` with some
//! switched off, `-ft`, which implies `-cal`, where the model is tuned afterwards, and `-blocks` with
//! either of them where blocks are tuned one by one. Without any of these codes come from the weights
//! alone; `-free` says so, where a plan would choose otherwise.

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
    /// `-blocks`: tables, scales, norms and codes of each block are tuned by gradients towards the
    /// reference's output.
    pub tune_blocks: bool,
    /// `-ft`: tables, scales and norms of all blocks are then tuned together towards the reference's
    /// logits.
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
    /// Every step of coding, without tuning afterwards: `-cal`.
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

    /// Whether anything is tuned by gradients, so that windows are held out for it.
    pub fn is_tuned(self) -> bool {
        self.tune_blocks || self.tune_whole
    }

    /// The steps without those of tuning.
    pub fn untuned(self) -> Steps {
        Steps { tune_blocks: false, tune_whole: false, ..self }
    }

    /// The steps with one of [`SWITCHES`](Self::SWITCHES) off as well.
    pub fn without(mut self, switch: usize) -> Steps {
        if let Some((_, step)) = self.switches().into_iter().nth(switch) {
            *step = false;
        }
        self
    }

    /// The steps that are on, by the options that switch them off or on: `eq`, `rep`, …, `blocks`,
    /// `ft`.
    pub fn words(mut self) -> Vec<&'static str> {
        let Steps { tune_blocks, tune_whole, .. } = self;
        let on = self.switches().into_iter().filter(|(_, is_on)| **is_on);
        let coding = on.map(|(option, _)| option.trim_start_matches("no"));
        let tuning = [(tune_blocks, BLOCKS), (tune_whole, FINE_TUNED)].into_iter();
        coding.chain(tuning.filter(|(is_on, _)| *is_on).map(|(_, word)| word)).collect()
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
        is_switch || [DATA_FREE, CALIBRATED, FINE_TUNED, BLOCKS].contains(&option)
    }

    /// Reads options that it [`knows`](Method::knows). Fails (input) where one repeats, and where a
    /// step is switched off or on without `-cal` or `-ft`.
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
            None => Ok(Method::Unsaid),
            Some(_) if options == [DATA_FREE] => Ok(Method::DataFree),
            Some(_) if options.contains(&DATA_FREE) => {
                Err(Error::input("`-free` codes without a text, the other options need one")
                    .hint("keep one of them"))
            }
            Some(_) if steps.tune_whole || options.contains(&CALIBRATED) => {
                Ok(Method::Calibrated(steps))
            }
            Some(option) => {
                Err(Error::input(format!("option `-{option}` switches a step of `-cal`"))
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
