//! The backend of the reference: what is refused, what records say, and that runs never mix.

use crate::fixtures::{Place, Tiny, run, told};

fn place() -> Place {
    Place::new(&Tiny::default(), 100)
}

#[test]
fn an_unknown_backend_is_refused() {
    let place = place();
    let error = "--backend: expected cpu, accelerate or metal, found \"cuda\"";
    place.refuses(place.sweep(&["--backend", "cuda"]), 2, error);
    std::fs::write(place.path("plan.toml"), "backend = \"cuda\"\n").unwrap();
    place.refuses(place.sweep(&["--plan", "plan.toml"]), 2, error);
}

#[test]
fn every_command_that_walks_refuses_a_backend_that_was_not_compiled_in() {
    if cfg!(any(target_os = "macos", feature = "metal")) {
        return println!("skipped: this build has more backends than cpu");
    }
    let place = place();
    let model = ["--model", "model"];
    for (command, more) in [
        ("sweep", &["--text", "text.txt"][..]),
        ("perplexity", &["--text", "text.txt"]),
        ("calibrate", &["--calibrate", "text.txt", "-o", "out"]),
        ("quantize", &["--recipe", "palette4", "-o", "out"]),
        ("package", &["--recipe", "palette4", "-o", "out"]),
        ("verify", &["packages"]),
    ] {
        for (backend, hint) in [
            ("accelerate", "build evalkit on a Mac: every build there has it"),
            ("metal", "build evalkit on a Mac with `cargo build --release --features metal`"),
        ] {
            let mut all = vec![command, "--backend", backend];
            all.extend(model.iter().chain(more));
            let error = format!(
                "--backend: this evalkit was built without the backend {backend}\nhint: {hint}"
            );
            place.refuses(place.evalkit(&all), 2, &error);
        }
    }
}

#[test]
fn records_of_the_cpu_are_what_they_were_and_the_plan_names_it() {
    let place = place();
    run(&mut place.sweep(&["--bits", "4", "--limit", "2", "--backend", "cpu"]), 0);
    assert!(!place.records().contains("\"backend\""), "{}", place.records());
    assert!(place.records().contains("\"device\":\"cpu\""), "{}", place.records());
    let plan = std::fs::read_to_string(place.run_folder().join("plan.toml")).unwrap();
    assert!(plan.contains("backend = \"cpu\"\n"), "{plan}");
}

#[test]
fn a_run_of_another_backend_is_not_continued_and_is_compared_with_none() {
    let place = place();
    let args = ["--bits", "4", "--limit", "2", "--backend", "cpu"];
    run(&mut place.sweep(&args), 0);
    let ours = place.run_folder();
    let records = place.records();
    let edited =
        records.replacen("\"kind\":\"run\",", "\"kind\":\"run\",\"backend\":\"metal\",", 1);
    assert_ne!(edited, records);

    std::fs::write(ours.join("records.jsonl"), &edited).unwrap();
    let refused = run(&mut place.sweep(&args), 2);
    let said = told(&refused);
    assert!(said.contains("the run was started with --backend metal, not cpu"), "{said}");

    let other = place.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("records.jsonl"), &records).unwrap();
    let [ours, other] = [&ours, &other].map(|path| path.display().to_string());
    let versus = place.evalkit(&["report", &ours, &other]).output().unwrap();
    let said = format!("{}{}", told(&versus), String::from_utf8_lossy(&versus.stdout));
    assert!(said.contains("the backend differs"), "{said}");
}
