//! What others report to go wrong with packages like those that are asked for. They are written all the
//! same, because reports are about single devices and systems.

use super::write::BundleRequest;
use crate::error::Result;
use crate::package::program::{Cache, Compute, Design};

/// The Neural Engine is reported to fail on states whose axes are no multiples of this, and to refuse
/// writing more rows than this in one call.
const STATE_UNIT: usize = 32;

/// Warnings about a request, each with what to do instead.
///
/// # Errors
/// Input errors of the variant.
pub fn warnings(request: &BundleRequest<'_>) -> Result<Vec<String>> {
    let config = &request.coder.checkpoint.config;
    let design = &request.design;
    if design.compute != Compute::Ane {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if !request.coder.variant.int8_inputs(config)?.is_empty() {
        found.push(
            "-a8 with --compute ane: int8 activations are reported not to compile for the Neural \
             Engine of an iPhone 17 Pro, and not to be faster on an M4 Max; leave -a8 out, or try the \
             package on your device first"
                .to_owned(),
        );
    }
    if design.cache == Cache::State {
        let longest = config.max_position_embeddings;
        let widths = [config.head_dim, config.value_dim];
        let odd = widths.into_iter().find(|width| !width.is_multiple_of(STATE_UNIT));
        found.extend(of_states(design, odd.unwrap_or(config.head_dim), longest));
    }
    Ok(found)
}

/// Warnings about states on the Neural Engine. `longest` is the model's own context.
fn of_states(design: &Design, head_dim: usize, longest: usize) -> Vec<String> {
    let Design { context_tokens, prefill_tokens, .. } = *design;
    let mut found = Vec::new();
    let fails = "the Neural Engine is reported to fail on states whose axes are no multiples of 32";
    if !head_dim.is_multiple_of(STATE_UNIT) {
        found.push(format!(
            "the model's heads are {head_dim} wide: {fails}; use --cache inputs or --compute gpu"
        ));
    }
    if !context_tokens.is_multiple_of(STATE_UNIT) {
        let fitting = (context_tokens / STATE_UNIT * STATE_UNIT).max(STATE_UNIT);
        let remedy = match fitting <= longest {
            true => format!("--max-sequence-length {fitting} or --cache inputs"),
            false => "--cache inputs or --compute gpu".to_owned(),
        };
        found.push(format!("the cache holds {context_tokens} tokens: {fails}; use {remedy}"));
    }
    if prefill_tokens > STATE_UNIT {
        found.push(format!(
            "prefill writes {prefill_tokens} rows into the states: the Neural Engine is reported to \
             refuse more than {STATE_UNIT}; use --prefill-length {STATE_UNIT} or --cache inputs"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::mil::Opset;

    fn of(context_tokens: usize, prefill_tokens: usize, head_dim: usize) -> Vec<String> {
        let design = Design {
            target: Opset::Ios18,
            compute: Compute::Ane,
            cache: Cache::State,
            context_tokens,
            prefill_tokens,
        };
        of_states(&design, head_dim, 300)
    }

    #[test]
    fn states_that_the_neural_engine_may_refuse_are_named_with_a_remedy() {
        assert_eq!(of(256, 32, 64), Vec::<String>::new());
        let [width] = &of(256, 32, 80)[..] else { panic!("one warning") };
        assert!(width.contains("80 wide") && width.contains("--cache inputs"), "{width}");
        let [context] = &of(300, 32, 128)[..] else { panic!("one warning") };
        assert!(context.contains("--max-sequence-length 288"), "{context}");
        let [prefill] = &of(256, 64, 128)[..] else { panic!("one warning") };
        assert!(prefill.contains("--prefill-length 32"), "{prefill}");
        assert_eq!(of(20, 40, 20).len(), 3);
    }
}
