//! Packages of every family: those of the committed random models, executed and compared with the walk.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use candle_core::Device;
use evalkit::checkpoint::Checkpoint;
use evalkit::checkpoint::config::{Activation, Config, NormKind};
use evalkit::error::{Exit, Result};
use evalkit::eval::{Coder, Variant};
use evalkit::files::Existing;
use evalkit::package::bundle::{Bundle, BundleRequest, PackageLimits, check_design, write};
use evalkit::package::execute::Precision;
use evalkit::package::mil::Opset;
use evalkit::package::program::{Cache, Compute, Design};
use evalkit::package::verify::{VerificationInput, VerificationLink, predict_by_walk, verify};

/// One model of each part that families differ in.
const DOZEN: [&str; 15] = [
    "apertus",
    "bitnet",
    "cohere-qk",
    "deepseek_v2-groups",
    "deepseek_v3",
    "gemma2",
    "gpt2",
    "hunyuan_v1_dense",
    "lfm2",
    "ministral3",
    "nemotron",
    "olmo2",
    "phi",
    "qwen2_moe",
    "stablelm-parallel",
];

const TOKENS: usize = 22;

/// How far a logit may be from that of the walk, in parts of the largest logit.
const MAX_LOGIT: f32 = 4e-3;

fn models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    models.sort();
    models
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn design(checkpoint: &Checkpoint, compute: Compute, cache: Cache, target: Opset) -> Design {
    let config = &checkpoint.config;
    let short = config.ropes.iter().filter_map(|rope| rope.short_tokens()).min();
    let longest = config.max_position_embeddings.min(short.unwrap_or(usize::MAX));
    Design { target, compute, cache, context_tokens: longest.min(24), prefill_tokens: 5 }
}

/// What verification finds wrong with the packages of a model.
fn wrong(checkpoint: &Checkpoint, variant: &str, design: Design) -> Result<Vec<String>> {
    wrong_with(checkpoint, checkpoint, variant, design, Precision::Single)
}

/// The same, against the walk of another description, with the arithmetic of this precision.
fn wrong_with(
    checkpoint: &Checkpoint,
    other: &Checkpoint,
    variant: &str,
    design: Design,
    precision: Precision,
) -> Result<Vec<String>> {
    let variant: Variant = variant.parse()?;
    let coder = Coder { checkpoint, variant: &variant, file: None, scales: None };
    let limits = PackageLimits::of(design.compute);
    let request =
        BundleRequest { coder, design, limits, license: "none", existing: Existing::Keep };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("packages");
    write(&folder, &request, &mut |_, _| Ok(()))?;
    let tokens = TOKENS.min(design.context_tokens);
    let vocabulary = checkpoint.config.vocab_size;
    let ids: Vec<u32> = (0..tokens).map(|at| ((at * 37 + 11) % vocabulary) as u32).collect();
    let walked = predict_by_walk(Coder { checkpoint: other, ..coder }, &ids, &Device::Cpu)?;
    let bundle = Bundle::open(&folder)?;
    let question = VerificationInput { bundle: &bundle, coder, ids: &ids, precision };
    let links = verify(&question, &walked, &mut |_, _| Ok(()))?;
    let magnitude = walked.logits.iter().flatten().fold(0f32, |max, logit| max.max(logit.abs()));
    let limit = f64::from(MAX_LOGIT * magnitude);
    let is_near =
        |link: &VerificationLink| link.distance.is_none_or(|distance| distance.max_logit <= limit);
    let broken = links.into_iter().filter(|link| !link.holds || !is_near(link));
    Ok(broken.map(|link| format!("{link:?}")).collect())
}

fn check(models: &[PathBuf], variant: &str, designs: &[(Compute, Cache, Opset)]) {
    let mut failures = Vec::new();
    for model in models {
        let checkpoint = Checkpoint::open(model).unwrap();
        for &(compute, cache, target) in designs {
            let design = design(&checkpoint, compute, cache, target);
            let mixes = checkpoint.config.experts.is_some() && target == Opset::Ios17;
            match wrong(&checkpoint, variant, design) {
                Ok(broken) if broken.is_empty() => {}
                Err(error) if mixes && error.to_string().contains("--target ios18") => {}
                found => {
                    failures.push(format!("{} {compute} {cache} {target}: {found:?}", name(model)))
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn packages_of_every_family_predict_what_the_walk_predicts() {
    let models = models();
    assert!(models.len() >= 83, "{} models", models.len());
    check(&models, "fp16", &[(Compute::Gpu, Cache::State, Opset::Ios18)]);
}

#[test]
fn packages_of_every_family_for_the_neural_engine_predict_the_same() {
    check(&models(), "fp16", &[(Compute::Ane, Cache::Inputs, Opset::Ios18)]);
}

#[test]
fn a_dozen_families_have_all_designs() {
    let models = models();
    let dozen: Vec<PathBuf> =
        models.into_iter().filter(|model| DOZEN.contains(&name(model))).collect();
    assert_eq!(dozen.len(), DOZEN.len());
    let designs = [
        (Compute::Gpu, Cache::Inputs, Opset::Ios18),
        (Compute::Gpu, Cache::Inputs, Opset::Ios17),
        (Compute::Ane, Cache::State, Opset::Ios18),
        (Compute::Ane, Cache::Inputs, Opset::Ios17),
    ];
    check(&dozen, "int8+embed:int8+head:int8", &designs);
}

#[test]
fn a_cache_longer_than_a_rotation_that_depends_on_the_length_is_refused() {
    let model = models().into_iter().find(|model| name(model) == "phi3-longrope-short").unwrap();
    let checkpoint = Checkpoint::open(&model).unwrap();
    let longest = checkpoint.config.ropes[0].short_tokens().unwrap();
    let variant: Variant = "fp16".parse().unwrap();
    let coder = Coder { checkpoint: &checkpoint, variant: &variant, file: None, scales: None };
    let refused = |context_tokens: usize| {
        let usual = design(&checkpoint, Compute::Gpu, Cache::State, Opset::Ios18);
        let design = Design { context_tokens, prefill_tokens: 2, ..usual };
        let limits = PackageLimits::of(Compute::Gpu);
        let request =
            BundleRequest { coder, design, limits, license: "none", existing: Existing::Keep };
        check_design(&request)
    };
    refused(longest).unwrap();
    let error = refused(longest + 1).unwrap_err();
    assert_eq!(error.exit(), Exit::Input);
    let text = error.to_string();
    assert!(text.contains("phi3") && text.contains("rotary embedding depends"), "{text}");
}

#[test]
fn a_part_that_differs_from_the_walk_is_seen() {
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 12] = [
        ("gemma2", |config| config.attention_softcap = None),
        ("gemma2", |config| config.attention_scale *= 1.1),
        ("gemma2", |config| config.embedding_scale *= 1.1),
        ("cohere-qk", |config| config.placement.parallel = false),
        ("granite", |config| config.residual_scale *= 1.1),
        ("granite", |config| config.logit_scale *= 1.02),
        ("phi", |config| config.activation = Activation::ReluSquared),
        ("olmo2", |config| config.norm.eps *= 1.5),
        ("hunyuan_v1_dense", |config| {
            config.qk_norm.as_mut().unwrap().after_rope = false;
        }),
        ("ministral3", |config| config.query_growth = None),
        ("phi-qk", |config| config.qk_norm.as_mut().unwrap().kind = NormKind::Rms),
        ("gpt2-scale", |config| config.divides_scores_by_layer = false),
    ];
    for (model, change) in changes {
        let path = models().into_iter().find(|path| name(path) == model).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let mut other = Checkpoint::open(&path).unwrap();
        change(&mut other.config);
        let design = design(&checkpoint, Compute::Gpu, Cache::State, Opset::Ios18);
        let found = wrong_with(&checkpoint, &other, "fp16", design, Precision::Single).unwrap();
        assert!(!found.is_empty(), "{model}: {:?}", other.config);
    }
}

/// Hidden states of Gemma 2 and 3 pass 65504; packages keep them smaller, and norms take that back.
#[test]
fn hidden_states_beyond_fp16_fit_into_the_packages_of_gemma() {
    for model in ["gemma2", "gemma3_text"] {
        let path = models().into_iter().find(|path| name(path) == model).unwrap();
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        checkpoint.config.embedding_scale *= 10_000.0;
        let design = design(&checkpoint, Compute::Gpu, Cache::State, Opset::Ios18);
        for precision in [Precision::Single, Precision::Half] {
            let found = wrong_with(&checkpoint, &checkpoint, "fp16", design, precision).unwrap();
            assert!(found.is_empty(), "{model}: {found:?}");
        }
        checkpoint.config.package_scale = 1.0;
        let found = wrong(&checkpoint, "fp16", design).unwrap();
        assert!(found.iter().any(|link| link.contains("hidden states after")), "{found:?}");
        let found = wrong_with(&checkpoint, &checkpoint, "fp16", design, Precision::Half).unwrap();
        assert!(found.iter().any(|link| link.contains("logits")), "{found:?}");
    }
}
