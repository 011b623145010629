//! What help texts of several commands share: headings, examples, recipes and devices.

use clap::builder::{Resettable, Str};
use clap::{Arg, Command};

/// No heading: clap lists the flags under "Options". A heading lasts until the next is set.
pub const OPTIONS: Resettable<Str> = Resettable::Reset;
/// Heading of flags about calibration.
pub const CALIBRATION: &str = "Calibration";
/// Heading of flags that give each tensor its own recipe.
pub const BITS_BY_TENSOR: &str = "Bits by tensor";
/// Heading of flags about Core ML packages.
pub const PACKAGES: &str = "Packages";
/// Heading of flags about measuring on devices.
pub const DEVICES: &str = "Devices";
/// Heading of flags that every command has.
pub const GLOBAL: &str = "Global";

/// How recipes are written: for commands that take them.
pub const RECIPE_GRAMMAR: &str = "\
Recipes: SCHEME BITS [-OPTION...], such as palette4-g16-s
  fp              weights as stored: the reference
  fp16            half precision
  paletteN        N = 1, 2, 3, 4, 6 or 8: codes into one lookup table per tensor
    -gN -c        one table per N output channels, per channel
    -s -t8        a scale per output channel; int8 table entries
    -uniform      evenly spaced entries
    -unique       the weights themselves as entries (lossless)
    -pN -t0.N     prune the smallest N per cent; prune up to this magnitude
  intN            N = 4 or 8: integers and one scale per output channel
    -bN -a        one scale per N inputs; with a zero point
  vectorN-dD      one code for D weights: vector1-d8, vector2-d4, vector4-d2
    -gN           one table per N output channels
  mxfp4           4-bit floats and a power of two per 32 inputs
  How codes of palettes, integers and vectors are chosen:
    -cal -ft      on the calibration text; then also tune tables, scales and norms
    -blocks       also tune each block by itself
    -noeq -norep -nocomp -noalt -nodesc    switch a step of calibration off
    -free         from the weights alone, even with --calibrate
  -a8             inputs of linear layers in int8, after any recipe but fp
  A mix by part: palette2-g16+attention:palette4-g16+embed:int8+head:int8
  @FILE: a recipe for each tensor, from a file that --target-bits or --fit wrote";

/// How devices are named: for commands that measure on them.
pub const DEVICE_NAMES: &str = "\
Devices: host (this machine), usb (the only attached phone), usb:<udid>, tcp:HOST:PORT, all.
Separate several by commas. `evalkit devices` lists what is there.
--fit of sweep and --device of inspect take a model instead: iPhone14,2 or \"iPhone 13 Pro\".";

/// The end of a command's `--help`: its examples, then sections such as [`RECIPE_GRAMMAR`].
pub fn after(examples: &[&str], sections: &[&str]) -> String {
    let examples = examples.iter().map(|line| format!("\n  {line}"));
    let sections = sections.iter().map(|section| format!("\n\n{section}"));
    ["Examples:".to_owned()].into_iter().chain(examples).chain(sections).collect()
}

/// The group of the flags of a sweep that ask for packages.
pub const ASKS_FOR_PACKAGES: &str = "asks for packages";

/// How packages are made and measured in a sweep: refused where no packages or devices are asked for,
/// and left to `--help`, because `-h` shows only the flags that ask for them.
pub fn details(arg: Arg) -> Arg {
    match (arg.get_help_heading(), arg.get_id().as_str()) {
        (_, "package" | "device") => arg,
        (Some(PACKAGES), _) => arg.hide_short_help(true).requires(ASKS_FOR_PACKAGES),
        (Some(DEVICES), _) => arg.hide_short_help(true).requires("device"),
        _ => arg,
    }
}

/// Reads `-1` as a value of the flag before it, so that the flag can refuse it.
pub fn with_negative_numbers(command: Command) -> Command {
    let of_arg = |arg: Arg| {
        let takes_value = arg.get_action().takes_values();
        if takes_value { arg.allow_negative_numbers(true) } else { arg }
    };
    command.mut_args(of_arg).mut_subcommands(with_negative_numbers)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Cli;
    use super::*;

    /// Lines of a terminal that `-h` may fill.
    const SCREEN_LINES: usize = 40;
    const WIDTH: usize = 100;

    /// `command` and all commands below it, the generated `help` aside.
    fn walk(command: &Command) -> Vec<Command> {
        let below = command.get_subcommands().filter(|sub| sub.get_name() != "help");
        [command.clone()].into_iter().chain(below.flat_map(walk)).collect()
    }

    fn commands() -> Vec<Command> {
        let mut cli = Cli::command().term_width(WIDTH);
        cli.build();
        walk(&cli)
    }

    /// An example as a shell splits it: quotes join words; a comment or a redirection ends it.
    fn arguments(example: &str) -> Vec<String> {
        let command = example.split(['#', '>']).next().unwrap_or_default();
        let mut arguments = Vec::new();
        for (at, piece) in command.split('"').enumerate() {
            if at % 2 == 1 {
                arguments.push(piece.to_owned());
            } else {
                arguments.extend(piece.split_whitespace().map(str::to_owned));
            }
        }
        arguments
    }

    #[test]
    fn the_short_help_of_every_command_fits_a_screen() {
        for mut command in commands() {
            let name = command.get_bin_name().unwrap_or_default().to_owned();
            let help = command.render_help().to_string();
            let lines = help.lines().count();
            assert!(lines <= SCREEN_LINES, "{name} -h has {lines} lines:\n{help}");
            let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(widest <= WIDTH, "{name} -h is {widest} wide");
        }
    }

    #[test]
    fn every_command_has_two_examples_that_parse() {
        for mut command in commands() {
            let name = command.get_bin_name().unwrap_or_default().to_owned();
            let is_leaf = command.get_subcommands().all(|sub| sub.get_name() == "help");
            let help = command.render_long_help().to_string();
            let Some((_, end)) = help.split_once("Examples:\n") else {
                assert!(!is_leaf, "{name} has no examples");
                continue;
            };
            let lines = end.lines().map(str::trim).take_while(|line| !line.is_empty());
            let examples: Vec<&str> = lines.collect();
            assert_eq!(examples.len(), 2, "{name}: {examples:?}");
            for example in examples {
                assert!(example.starts_with("evalkit "), "{name}: {example}");
                assert!(example.starts_with(&name), "{name}: {example}");
                if let Err(error) = Cli::try_parse_from(arguments(example)) {
                    panic!("{example}: {error}");
                }
            }
        }
    }

    #[test]
    fn recipes_in_the_grammar_are_recipes() {
        let words = RECIPE_GRAMMAR.split([' ', '\n', ',']);
        let schemes =
            words.filter(|word| word.starts_with("palette") || word.starts_with("vector"));
        let names: Vec<&str> =
            schemes.filter(|word| word.contains(|c: char| c.is_ascii_digit())).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        for name in names {
            name.parse::<crate::eval::Variant>().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
