//! Calibration, tuning, saved moments and allocation of every committed family: they run, they bring the
//! codes closer to the reference, and what is not available is refused by name.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use evalkit::allocate::{Probe, anchors, predicted_kl_nats, sizes_bytes};
use evalkit::calibrate::{
    CalibrationJob, Collection, MomentsFile, collect, write_by_moments, write_calibrated,
};
use evalkit::checkpoint::Checkpoint;
use evalkit::eval::{CodedFile, Origin, Timings, Variant, Walk, Window};
use evalkit::model::Backend;

use crate::fixtures::silent_walk::SilentWalk;
use crate::fixtures::{Place, Tiny, run, wider};

/// Calibrated codes may cost this much more than data-free ones, because what is chosen block by block is
/// not chosen by the divergence at the end.
const MARGIN: f64 = 1.1;

fn families() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// The families without their variants, and variants whose blocks are other ones.
fn distinct_families() -> Vec<PathBuf> {
    const VARIANTS: [&str; 8] = [
        "cohere-qk",
        "deepseek_v3-half",
        "gpt2-scale",
        "lfm2-bias",
        "olmo-clip",
        "phi-qk",
        "qwen2_moe-dense",
        "stablelm-parallel",
    ];
    let is_meant = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        !name.contains('-') || VARIANTS.contains(&name.as_str())
    };
    families().into_iter().filter(is_meant).collect()
}

/// Windows of random tokens, some of which are frequent.
fn windows(checkpoint: &Checkpoint, count: usize) -> Vec<Window> {
    let vocab = checkpoint.config.vocab_size as u64;
    let mut state = 7u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % vocab
    };
    let mut window = || {
        let ids: Vec<u32> = (0..16).map(|_| (next() * next() / vocab) as u32).collect();
        Window { scored: 1..ids.len(), ids, scored_bytes: 15 }
    };
    (0..count).map(|_| window()).collect()
}

struct Case {
    checkpoint: Checkpoint,
    windows: Vec<Window>,
    folder: tempfile::TempDir,
}

impl Case {
    /// The wider model of a family; `None` if it has a part that is not computed.
    fn open(family: &Path) -> Option<Self> {
        Checkpoint::open(family).ok()?;
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = wider::open(family, &folder.path().join("model"));
        let checkpoint = checkpoint.unwrap_or_else(|error| panic!("{}: {error}", family.display()));
        Some(Case { windows: windows(&checkpoint, 8), checkpoint, folder })
    }

    fn name(&self) -> &str {
        self.checkpoint.config.family
    }

    fn walk<'a>(
        &'a self,
        variants: &'a [Variant],
        coded: &'a [Option<Arc<CodedFile>>],
        windows: &'a [Window],
    ) -> Walk<'a> {
        let (checkpoint, device) = (&self.checkpoint, &Device::Cpu);
        Walk { checkpoint, variants, windows, coded, calibration: None, device }
    }

    /// The files of variants, calibrated on the windows or by saved moments.
    fn calibrated(
        &self,
        variants: &[Variant],
        moments: Option<&MomentsFile>,
    ) -> Vec<Option<Arc<CodedFile>>> {
        let own = Origin::of("text".into(), &self.windows, Backend::of(&Device::Cpu));
        let origin = moments.map_or(own, MomentsFile::origin);
        let path = |at: usize| self.folder.path().join(format!("{at}.coded"));
        let paths: Vec<PathBuf> = (0..variants.len()).map(path).collect();
        let walk = self.walk(variants, &[], &self.windows);
        let job = CalibrationJob { walk, paths: &paths, origin: &origin };
        let mut timings = Timings::default();
        let outcomes = match moments {
            Some(moments) => write_by_moments(&job, moments, &mut timings, &mut SilentWalk),
            None => write_calibrated(&job, &mut timings, &mut SilentWalk),
        };
        let open = |(path, outcome): (PathBuf, Result<(), evalkit::eval::Cause>)| {
            outcome.unwrap_or_else(|cause| panic!("{}: {}", self.name(), cause.what));
            Some(Arc::new(CodedFile::open(&path).unwrap()))
        };
        let outcomes = outcomes.unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        paths.iter().cloned().zip(outcomes).map(open).collect()
    }

    /// The mean divergence of each variant from the reference, in nats per token.
    fn kl_nats(&self, variants: &[Variant], coded: &[Option<Arc<CodedFile>>]) -> Vec<f64> {
        self.kl_nats_of(variants, coded, &self.windows)
    }

    /// The same on some windows.
    fn kl_nats_of(
        &self,
        variants: &[Variant],
        coded: &[Option<Arc<CodedFile>>],
        windows: &[Window],
    ) -> Vec<f64> {
        let walked = self.walk(variants, coded, windows).run(None, &mut SilentWalk).unwrap();
        let mean = |scored: &evalkit::eval::Scored| {
            let all: Vec<f64> =
                scored.scores.iter().flat_map(|score| score.kl_nats.clone()).collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        let outcomes = walked.outcomes.into_iter().skip(1);
        outcomes.map(|outcome| mean(&outcome.unwrap_or_else(|c| panic!("{}", c.what)))).collect()
    }
}

fn variants(names: &[&str]) -> Vec<Variant> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn every_family_is_calibrated_on_a_text_and_by_saved_moments() {
    let mut wrong = Vec::new();
    for family in distinct_families() {
        let Some(case) = Case::open(&family) else { continue };
        let all = variants(&["int4", "int4-cal"]);
        let free = [None, None];
        let data_free = case.kl_nats(&all[..1], &free[..1])[0];
        let fitted = case.calibrated(&all[1..], None);
        let by_text = case.kl_nats(&all[1..], &fitted)[0];
        let origin = Origin::of("text".into(), &case.windows, Backend::of(&Device::Cpu));
        let path = case.folder.path().join("moments");
        let walk = case.walk(&[], &[], &case.windows);
        let collection = Collection { walk, path: &path, origin: &origin };
        collect(&collection, &mut Timings::default(), &mut SilentWalk).unwrap();
        let moments = MomentsFile::open(&path).unwrap();
        moments.check(&case.checkpoint).unwrap();
        let fitted = case.calibrated(&all[1..], Some(&moments));
        let by_moments = case.kl_nats(&all[1..], &fitted)[0];
        let name = family.file_name().unwrap().to_string_lossy().into_owned();
        eprintln!("{name}: {data_free:.4} nats, {by_text:.4} by text, {by_moments:.4} by moments");
        let most = data_free * MARGIN;
        if data_free.is_nan() || data_free == 0.0 || by_text > most || by_moments > most {
            wrong.push(format!("{name}: {data_free}, {by_text}, {by_moments}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Families that differ in what tuning differentiates: norms, their places, activations, heads, logits.
const TUNED: [&str; 15] = [
    "apertus-bias",
    "arcee",
    "bitnet",
    "cohere",
    "gemma2",
    "gpt2",
    "gpt2-scale",
    "granite",
    "hunyuan_v1_dense",
    "nemotron",
    "olmo-clip",
    "olmo2",
    "phi",
    "phi-qk",
    "stablelm-parallel",
];

#[test]
fn dense_families_are_tuned() {
    let mut wrong = Vec::new();
    for family in families() {
        let name = family.file_name().unwrap().to_string_lossy().into_owned();
        if !TUNED.contains(&name.as_str()) {
            continue;
        }
        let case = Case::open(&family).unwrap();
        let all = variants(&["int4", "int4-ft-blocks"]);
        let tuned = case.calibrated(&all[1..], None);
        let whole = tuned[0].as_ref().unwrap().calibrated.provenance.tuned_whole.unwrap();
        let coded = [None, tuned[0].clone()];
        let [data_free, on_all] = case.kl_nats(&all, &coded)[..] else { panic!() };
        // The divergence that decided is that of the walk, up to the last token of the window.
        let expected = whole.before.min(whole.after);
        let held_out = case.kl_nats_of(&all[1..], &coded[1..], &case.windows[7..])[0];
        eprintln!("{name}: {data_free:.4} nats, {on_all:.4} tuned, {held_out:.4}, {whole:?}");
        let is_near = held_out < 3.0 * expected && expected < 3.0 * held_out;
        if on_all.is_nan() || on_all > data_free || !is_near {
            wrong.push(format!("{name}: {data_free}, {on_all}, {held_out}, {whole:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_cannot_be_tuned_is_refused_by_name() {
    let mut refused = Vec::new();
    for family in families() {
        let Ok(checkpoint) = Checkpoint::open(&family) else { continue };
        let name = family.file_name().unwrap().to_string_lossy().into_owned();
        let Some(why) = checkpoint.config.untunable() else { continue };
        for recipe in ["int4-ft", "int4-cal-blocks"] {
            let variant: Variant = recipe.parse().unwrap();
            let error = variant.check(&checkpoint.config).unwrap_err();
            assert_eq!(error.exit(), evalkit::Exit::Input, "{name}");
            let text = error.to_string();
            assert!(text.contains(why) && text.contains("not available"), "{name}: {text}");
        }
        refused.push(name);
    }
    for name in ["lfm2", "deepseek_v2", "mixtral", "qwen2_moe"] {
        assert!(refused.iter().any(|refused| refused == name), "{name} of {refused:?}");
    }
}

#[test]
fn bits_of_every_family_are_allocated_by_what_was_measured() {
    for family in families() {
        let Some(case) = Case::open(&family) else { continue };
        let name = family.file_name().unwrap().to_string_lossy().into_owned();
        let candidates = variants(&["palette2-g16-s", "int8"]);
        let sizes = sizes_bytes(&case.checkpoint, &candidates).unwrap();
        let anchors = anchors(&sizes);
        assert_eq!(anchors, [0, 1], "{name}");
        let walk = case.walk(&[], &[], &case.windows[..2]);
        let probe = Probe { walk, candidates: &candidates, anchors: &anchors };
        let measured = probe.measure(Vec::new(), &mut |_| Ok(()), &mut SilentWalk).unwrap();
        assert!(measured.fits(case.checkpoint.config.layers, 2), "{name}");
        let costs = predicted_kl_nats(&measured);
        for (at, (sizes, costs)) in sizes.iter().zip(&costs).enumerate() {
            let is_there = sizes[0] != Some(0);
            assert_eq!(costs[0].is_some(), is_there, "{name}, place {at}");
        }
        // Of each part that was measured alone, the predictions are what was measured.
        let sum: f64 = costs.iter().filter_map(|costs| costs[0]).sum();
        let all: f64 = measured.parts.iter().map(|part| part.kl_nats[0]).sum();
        assert!((sum - all).abs() <= 1e-9 * all && all > 0.0, "{name}: {sum}, {all}");
        // All parts together cost about what they cost alone.
        let together = case.kl_nats(&candidates[..1], &[None])[0];
        eprintln!("{name}: {all:.4} nats predicted, {together:.4} found");
        assert!(together < 8.0 * all && all < 8.0 * together, "{name}: {all}, {together}");
    }
}

/// The allocation files in the folder of the only run.
fn allocation_of(place: &Place) -> PathBuf {
    let files = std::fs::read_dir(place.run_folder()).unwrap().map(|file| file.unwrap().path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("allocation-") && name.ends_with(".toml")
    };
    files.into_iter().find(is_one).unwrap()
}

#[test]
fn an_allocation_names_what_a_layer_has_and_is_replayed() {
    for (family, present, absent) in [
        ("arcee", "query up", "gate"),
        ("lfm2", "query output gate", "key value"),
        ("deepseek_v2", "query key value gate", ""),
        ("phi", "key down", "gate"),
    ] {
        let place = Place::new(&Tiny::default(), 100);
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
        wider::open(&golden.join(family), &place.model()).unwrap();
        let text = ["--calibrate", "other.txt", "--limit", "2"];
        let asked = ["--target-bits", "5", "--candidates", "palette2-g16-s,int8"];
        run(place.sweep(&text).args(asked), 0);
        let file = allocation_of(&place);
        let written = std::fs::read_to_string(&file).unwrap();
        let first = written.split("[layer.1]").next().unwrap();
        for name in present.split_whitespace() {
            assert!(first.contains(&format!("\n{name} = {{ recipe = \"")), "{family}: {first}");
            let none = format!("\n{name} = {{ recipe = \"none\" }}");
            assert!(!first.contains(&none), "{family}, {name}: {first}");
        }
        for name in absent.split_whitespace() {
            let none = format!("\n{name} = {{ recipe = \"none\" }}");
            assert!(first.contains(&none), "{family}, {name}: {first}");
        }
        let recipes = format!("@{}", file.display());
        run(place.sweep(&text).args(["--recipes", &recipes]), 0);
    }
}

#[test]
fn int8_inputs_are_those_that_a_layer_has() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    for (family, recipe, expected) in [
        ("llama", "int8-a8", "attention output mlp down"),
        ("lfm2", "int8-a8", "attention output mlp down"),
        ("deepseek_v2", "int8+attention:int8-a8", "attention kv_latent output"),
        ("deepseek_v3", "int8+attention:int8-a8", "attention query_latent kv_latent output"),
        ("qwen2_moe", "int8+attention:int8-a8", "attention output"),
    ] {
        let config = Checkpoint::open(&golden.join(family)).unwrap().config;
        let variant: Variant = recipe.parse().unwrap();
        let inputs = variant.int8_inputs(&config).unwrap();
        let of_first = inputs.iter().filter(|(layer, _)| *layer == Some(0));
        let names: Vec<&str> = of_first.map(|(_, input)| input.name()).collect();
        assert_eq!(names.join(" "), expected, "{family}");
    }
    let config = Checkpoint::open(&golden.join("qwen2_moe")).unwrap().config;
    let refused = "int8-a8".parse::<Variant>().unwrap().int8_inputs(&config).unwrap_err();
    assert!(refused.to_string().contains("not available for experts"), "{refused}");
}
