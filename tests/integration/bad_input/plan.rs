//! Plan files that cannot be meant.

use crate::fixtures::{Place, Tiny, run};

fn refuses(plan: &str, error: &str) {
    let place = Place::new(&Tiny::default(), 100);
    std::fs::write(place.path("plan.toml"), plan).unwrap();
    place.refuses(place.sweep(&["--plan", "plan.toml"]), 2, error);
}

#[test]
fn a_plan_with_an_unknown_key_is_refused() {
    refuses(
        "windows = 3\n",
        "plan.toml: not a plan: TOML parse error at line 1, column 1\n  |\n1 | windows = 3\n  | \
         ^^^^^^^\nunknown field `windows`, expected one of `model`, `pretokenizer`, `text`, `protocol`, `bos`, \
         `context`, `limit`, `parse_special`, `recipes`, `bits`, `attention`, `experts`, `embed`, `head`, `seed`, `backend`, \
         `calibrate`, `calibration_windows`, `activation_range`, `calibration`, `target_bits`, `fit`, `entitled`, \
         `candidates`, `sensitivity_windows`, `check`",
    );
}

#[test]
fn a_plan_with_recipes_and_bits_is_refused() {
    refuses(
        "recipes = [\"fp16\"]\nbits = [4]\n",
        "the plan has both `recipes` and `bits`\nhint: keep one of them",
    );
}

#[test]
fn a_plan_that_is_not_toml_is_refused() {
    refuses(
        "model: demo\n",
        "plan.toml: not a plan: TOML parse error at line 1, column 8\n  |\n1 | model: demo\n  |        \
         ^\nkey with no value, expected `=`",
    );
}

#[test]
fn a_plan_with_a_value_of_the_wrong_type_is_refused() {
    refuses(
        "context = \"16\"\n",
        "plan.toml: not a plan: TOML parse error at line 1, column 11\n  |\n1 | context = \"16\"\n  \
         |           ^^^^\ninvalid type: string \"16\", expected usize",
    );
    refuses(
        "bits = [4, 300]\n",
        "plan.toml: not a plan: TOML parse error at line 1, column 12\n  |\n1 | bits = [4, 300]\n  \
         |            ^^^\ninvalid value: integer `300`, expected u8",
    );
}

#[test]
fn a_plan_with_an_unknown_recipe_is_refused_with_the_key() {
    refuses(
        "recipes = [\"palete4\"]\n",
        "recipes: recipe `palete4`: unknown scheme, expected fp, fp16, mxfp4, paletteN, intN or vectorN\n\
         hint: did you mean `palette4`?",
    );
}

#[test]
fn a_plan_that_is_not_there_or_too_large_is_refused() {
    let place = Place::new(&Tiny::default(), 100);
    place.refuses(
        place.sweep(&["--plan", "plan.toml"]),
        2,
        "plan.toml: cannot read the plan: No such file or directory (os error 2)",
    );
    std::fs::write(place.path("plan.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    place.refuses(
        place.sweep(&["--plan", "plan.toml"]),
        2,
        "plan.toml: cannot read the plan: expected at most 1048576 bytes, found 1048577",
    );
}

#[test]
fn the_plan_that_a_run_keeps_can_be_given_to_another_run() {
    let place = Place::new(&Tiny::default(), 100);
    run(&mut place.sweep(&["--bits", "4,1"]), 0);
    let kept = place.run_folder().join("plan.toml");
    let kept = kept.to_str().unwrap();
    let again = run(&mut place.evalkit(&["sweep", "--plan", kept]), 0);
    let told = crate::fixtures::told(&again);
    assert!(told.starts_with("everything was already measured, in reports/"), "{told}");
}
