//! Arguments that name nothing, or something impossible.

use crate::fixtures::{Place, Tiny, run, told};

fn place() -> Place {
    Place::new(&Tiny::default(), 100)
}

fn refuses(more: &[&str], error: &str) {
    let place = place();
    place.refuses(place.sweep(more), 2, error);
}

#[test]
fn a_width_that_no_recipe_has_is_refused_with_those_there_are() {
    refuses(
        &["--bits", "4,5"],
        "--bits: no recipe has 5 bits\nhint: 16, 8, 6, 4, 3, 2 and 1 have a recommended recipe",
    );
}

#[test]
fn an_unknown_recipe_is_refused_with_the_nearest() {
    refuses(
        &["--recipes", "fp16,pallete4"],
        "--recipes: recipe `pallete4`: unknown scheme, expected fp, fp16, mxfp4, paletteN, intN or vectorN\n\
         hint: did you mean `palette4`?",
    );
    refuses(
        &["--recipes", "palette5"],
        "--recipes: recipe `palette5`: 5-bit palettes do not exist: Core ML has index types of 1, \
         2, 3, 4, 6 and 8 bits\nhint: use palette4 or palette6",
    );
    refuses(
        &["--recipes", "palette2-g16-x"],
        "--recipes: recipe `palette2-g16-x`: unknown option `-x`, expected -gN, -c, -s, -uniform, \
         -unique, -t8, -t0.N or -pN\nhint: did you mean `palette2-g16`?",
    );
    refuses(
        &["--recipes", ""],
        "--recipes: recipe ``: unknown scheme, expected fp, fp16, mxfp4, paletteN, intN or vectorN\n\
         hint: for example fp16, palette4-g16, palette2-g16, int4-b32",
    );
    refuses(
        &["--embed", "int5"],
        "--embed: recipe `int5`: int5 does not exist: Core ML has linear codes of 4 and 8 bits\n\
         hint: 1, 2, 3 and 6 bits exist as palettes",
    );
    refuses(
        &["--head", "nf4"],
        "--head: recipe `nf4`: unknown scheme, expected fp, fp16, mxfp4, paletteN, intN or vectorN\n\
         hint: for example fp16, palette4-g16, palette2-g16, int4-b32",
    );
}

#[test]
fn bits_and_recipes_together_are_refused() {
    refuses(
        &["--bits", "4", "--recipes", "fp16"],
        "the argument '--bits <LIST>' cannot be used with '--recipes <LIST>'\n\n\
         Usage: evalkit sweep --model <CHECKPOINT> --text <FILE> --context <TOKENS> --bits <LIST>\n\n\
         For more information, try '--help'.",
    );
}

#[test]
fn an_unknown_protocol_is_refused() {
    refuses(
        &["--protocol", "half"],
        "protocol: expected full, llama.cpp or gptq-2048, found \"half\"",
    );
    refuses(
        &["--protocol", "gptq-2048"],
        "--context 16: gptq-2048 has windows of 2048 tokens\n\
         hint: use --protocol full for other windows",
    );
}

#[test]
fn an_unknown_bos_mode_is_refused() {
    refuses(
        &["--bos", "sometimes"],
        "bos: expected none, prepend, replace or text, found \"sometimes\"",
    );
}

#[test]
fn a_limit_of_no_windows_is_refused() {
    refuses(&["--limit", "0"], "--limit: expected 1 window or more, found 0");
}

#[test]
fn windows_longer_than_the_context_are_refused() {
    let place = place();
    let sweep = ["sweep", "--model", "model", "--text", "text.txt"];
    let mut long = place.evalkit(&sweep);
    long.args(["--context", "129"]);
    place.refuses(
        long,
        2,
        "windows of 129 tokens, but the model's context is 128\nhint: give --context 128 or less",
    );
    place.refuses(
        place.evalkit(&sweep),
        2,
        "windows of 512 tokens, but the model's context is 128\nhint: give --context 128 or less",
    );
}

#[test]
fn windows_too_short_to_score_a_token_are_refused() {
    for (context, protocol, least) in [("0", "full", 2), ("1", "full", 2), ("2", "llama.cpp", 3)] {
        let place = place();
        let mut short = place.evalkit(&["sweep", "--model", "model", "--text", "text.txt"]);
        short.args(["--context", context, "--protocol", protocol]);
        let error = format!(
            "text.txt: no token of a window is scored: expected windows of {least} tokens or more, \
             found {context}"
        );
        place.refuses(short, 2, &error);
    }
}

#[test]
fn a_budget_that_one_window_exceeds_is_refused_with_what_it_takes() {
    let place = place();
    let output = run(&mut place.sweep(&["--memory", "1MB"]), 2);
    let told = told(&output);
    // What the program itself holds is measured, so the last digits vary.
    let takes = told.strip_prefix("error: --memory 1.00 MB: one window takes ").unwrap();
    let (takes, hint) = takes.split_once(" MB\n").unwrap();
    assert!((70.0..90.0).contains(&takes.parse::<f64>().unwrap()), "{told}");
    assert_eq!(hint, "hint: allow more memory, or give fewer recipes at a time\n");
    assert!(output.stdout.is_empty() && !place.path("reports").exists());
}

#[test]
fn a_size_that_is_none_is_refused() {
    for size in ["4", "GB", "-1GB", "NaNGB", "1e30GB", "0.1B"] {
        refuses(
            &[&format!("--memory={size}")],
            &format!(
                "invalid value '{size}' for '--memory <SIZE>': expected a size such as 4GB or \
                 512MiB, found {size:?}\n\nFor more information, try '--help'."
            ),
        );
    }
}

#[test]
fn a_model_that_is_not_there_is_refused() {
    let place = place();
    place.refuses(
        place.evalkit(&["sweep", "--model", "missing", "--text", "text.txt"]),
        2,
        "missing: there is no such file or folder\nhint: give a Hugging Face folder, a GGUF file, \
         hf:owner/name, or `demo` for the built-in model",
    );
    place.refuses(
        place.evalkit(&["sweep", "--model", "text.txt", "--text", "text.txt"]),
        2,
        "text.txt: expected a folder with config.json, or a GGUF file",
    );
    place.refuses(
        place.evalkit(&["sweep", "--model", "hf:nonsense", "--text", "text.txt"]),
        2,
        "expected hf:owner/name or hf:owner/name@revision, found hf:nonsense\nhint: for example \
         hf:HuggingFaceTB/SmolLM2-135M-Instruct@main",
    );
}

#[test]
fn a_model_without_a_text_is_refused() {
    let place = place();
    place.refuses(
        place.evalkit(&["sweep", "--model", "model"]),
        2,
        "there is no text to score the model on\nhint: give one with --text FILE",
    );
}

#[test]
fn a_gguf_file_cut_anywhere_is_refused() {
    let place = place();
    let whole =
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-llama.gguf"));
    let file = place.path("cut.gguf");
    for kept in [4, 7, 24, 300, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..kept]).unwrap();
        let output =
            place.evalkit(&["sweep", "-m", "cut.gguf", "-t", "text.txt"]).output().unwrap();
        let said = told(&output);
        assert_eq!(output.status.code(), Some(2), "cut after {kept} bytes: {said}");
        assert!(said.starts_with("error: cut.gguf: "), "cut after {kept} bytes: {said}");
        assert!(output.stdout.is_empty() && !place.path("reports").exists());
    }
}
