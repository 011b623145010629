//! Jobs: their results, and that each is done once.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use evalkit::device::protocol::frame::Frame;
use evalkit::package::bundle::Bundle;
use evalkit::package::chain::Chain;
use evalkit::package::execute::Precision;
use serde_json::{Value, json};

use super::client::{Client, Runner, demo, generate, job, load};

/// Bound on the difference to a computation in f64.
const TOLERANCE_NATS: f64 = 1e-6;

fn loaded(runner: &Runner) -> Client<std::net::TcpStream> {
    let mut client = runner.session();
    client.send_package(demo());
    client.load(&demo().content.package(), &job());
    client
}

fn chain(runner: &Runner) -> Chain {
    let folder = runner.store.join("packages").join(demo().content.package());
    Chain::load(&Bundle::open(&folder).unwrap(), Precision::Single).unwrap()
}

fn largest(logits: &[f32]) -> u32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|logit| *logit == most).unwrap() as u32
}

#[test]
fn a_prompt_is_continued_as_the_packages_say() {
    let runner = Runner::start();
    let mut client = loaded(&runner);
    let result = client.done(generate(&job(), 1, 20))["result"].take();
    let mut chain = chain(&runner);
    let mut id = largest(chain.prefill(&[1, 2, 3]).unwrap().last().unwrap());
    let mut expected = vec![id];
    while expected.len() < 20 {
        id = largest(&chain.decode(id).unwrap());
        expected.push(id);
    }
    assert_eq!(result["ids"], json!(expected));
    assert_eq!(result["prompt_tokens"], 3);
    let times: Vec<f64> = serde_json::from_value(result["token_ms"].clone()).unwrap();
    assert_eq!(times.len(), 19);
    assert!(times.iter().chain(result["ttft_ms"].as_f64().iter()).all(|ms| *ms > 0.0));
    // A second prompt starts from an empty cache.
    assert_eq!(client.done(generate(&job(), 1, 20))["result"]["ids"], json!(expected));
}

#[test]
fn a_text_is_scored_with_the_logits_that_were_asked_for_twice() {
    let runner = Runner::start();
    let mut client = loaded(&runner);
    let ids: Vec<u32> = (0..150).map(|i| i * 7 % 50).collect();
    let at = [0_u32, 63, 64, 149];
    let ask = json!({"type": "score", "job": job(), "attempt": 1, "ids": ids, "logits_at": at});
    let logits = chain(&runner).prefill(&ids).unwrap();
    for replayed in [false, true] {
        let id = client.begin(ask.clone());
        let mut rows = Vec::new();
        let answer = loop {
            match client.frame().unwrap() {
                Frame::Logits { position, values } => rows.push((position, values)),
                frame => {
                    let value: Value = evalkit::device::protocol::message(&frame).unwrap();
                    if value["type"] != "progress" {
                        break value;
                    }
                }
            }
        };
        assert_eq!((&answer["id"], &answer["replayed"]), (&json!(id), &json!(replayed)));
        assert_eq!(rows.len(), at.len());
        for ((position, values), at) in rows.iter().zip(at) {
            assert_eq!((*position, values), (at, &logits[at as usize]));
        }
        let nll: Vec<f64> = serde_json::from_value(answer["result"]["nll_nats"].clone()).unwrap();
        assert_eq!(nll.len(), ids.len() - 1);
        for (i, nll) in nll.iter().enumerate() {
            let row = logits[i].iter().map(|logit| f64::from(*logit));
            let sum: f64 = row.clone().map(f64::exp).sum();
            let expected = sum.ln() - f64::from(logits[i][ids[i + 1] as usize]);
            assert!((nll - expected).abs() < TOLERANCE_NATS, "{i}: {nll} {expected}");
        }
    }
}

#[test]
fn a_load_says_what_was_loaded_and_whether_it_was_the_first() {
    let mut runner = Runner::start();
    let mut client = runner.session();
    client.send_package(demo());
    let package = demo().content.package();
    let mut first = load(&package, &job(), 1);
    first["sample_ms"] = 50.into();
    let first = client.done(first)["result"].take();
    assert_eq!(first["first"], true);
    assert_eq!(first["compile_ms"], Value::Null);
    assert_eq!(first["functions"], json!(["decode", "prefill"]));
    assert_eq!(first["context_tokens"], 256);
    assert!(first["after"]["at_ms"].as_f64() >= first["load_ms"].as_f64());
    assert_eq!(client.load(&package, &job())["result"]["first"], false);
    let mut all = load(&package, &job(), 1);
    all["compute_units"] = "all".into();
    assert_eq!(client.done(all)["result"]["first"], true);
    let mut gpu = load(&package, &job(), 1);
    gpu["compute_units"] = "cpu_and_gpu".into();
    client.fails(gpu, "unsupported");
    drop(client);
    runner.kill_and_restart();
    assert_eq!(runner.session().load(&package, &job())["result"]["first"], false);
}

#[test]
fn decode_alone_reads_a_prompt_token_by_token_and_both_functions_can_follow() {
    let runner = Runner::start();
    let mut client = runner.session();
    client.send_package(demo());
    let package = demo().content.package();
    let alone = || {
        let mut alone = load(&package, &job(), 1);
        alone["functions"] = json!(["decode"]);
        alone
    };
    let loaded = client.done(alone())["result"].take();
    assert_eq!(loaded["functions"], json!(["decode"]));
    assert_eq!((&loaded["first"], &loaded["prefill_tokens"]), (&json!(true), &json!(64)));
    assert_eq!(client.done(alone())["result"]["first"], false);
    let ids = client.done(generate(&job(), 1, 3))["result"]["ids"].take();
    let mut chain = chain(&runner);
    let mut ids_expected: Vec<u32> = Vec::new();
    for id in [1, 2, 3] {
        ids_expected = vec![largest(&chain.decode(id).unwrap())];
    }
    while ids_expected.len() < 3 {
        let id = ids_expected[ids_expected.len() - 1];
        ids_expected.push(largest(&chain.decode(id).unwrap()));
    }
    assert_eq!(ids, json!(ids_expected));
    let both = client.load(&package, &job())["result"].take();
    assert_eq!(both["functions"], json!(["decode", "prefill"]));
    assert_eq!(both["first"], true, "its prefill was never loaded");
    let mut prefill = load(&package, &job(), 1);
    prefill["functions"] = json!(["prefill"]);
    client.fails(prefill, "bad_request");
}

#[test]
fn a_plan_lists_every_operation_on_the_processor() {
    let runner = Runner::start();
    let mut client = runner.session();
    client.send_package(demo());
    let ask = json!({"type": "plan", "job": job(), "attempt": 1,
        "package": demo().content.package(), "compute_units": "cpu"});
    let plan = client.done(ask)["result"].take();
    let operations = plan["operations"].as_array().unwrap();
    for function in ["decode", "prefill"] {
        let is_linear = |of: &&Value| of["function"] == function && of["operator"] == "linear";
        assert!(operations.iter().any(|of| is_linear(&of)), "{function}");
    }
    let on_cpu = |of: &Value| {
        of["preferred"] == "cpu" && of["supported"] == json!(["cpu"]) && of["cost_weight"].is_null()
    };
    assert!(operations.iter().all(on_cpu));
}

#[test]
fn figures_are_taken_while_a_job_runs() {
    let runner = Runner::start();
    let mut client = loaded(&runner);
    let mut ask = generate(&job(), 1, 250);
    ask["sample_ms"] = 50.into();
    let result = client.done(ask)["result"].take();
    let samples = result["samples"].as_array().unwrap();
    let times: Vec<f64> = samples.iter().map(|sample| sample["at_ms"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let after = &result["after"];
    assert!(after["footprint_peak_bytes"].as_u64() >= after["footprint_bytes"].as_u64());
    assert!(after["footprint_bytes"].as_u64() > Some(0), "{after}");
}

#[test]
fn a_job_is_done_once_however_often_it_is_asked_for() {
    let mut runner = Runner::start();
    let mut client = loaded(&runner);
    let job = job();
    let first = client.done(generate(&job, 1, 5));
    assert_eq!((&first["replayed"], &first["attempt"]), (&json!(false), &json!(1)));
    let again = client.done(generate(&job, 3, 5));
    assert_eq!((&again["replayed"], &again["attempt"]), (&json!(true), &json!(1)));
    assert_eq!(again["result"], first["result"]);
    client.fails(generate(&job, 1, 6), "bad_request");
    drop(client);
    runner.kill_and_restart();
    let again = runner.session().done(generate(&job, 1, 5));
    assert_eq!(again["replayed"], true);
    assert_eq!(again["result"], first["result"]);
}

#[test]
fn what_does_not_fit_is_refused_before_it_starts() {
    let runner = Runner::start();
    let mut client = loaded(&runner);
    client.fails(generate(&job(), 1, 254), "too_large");
    client.fails(generate(&job(), 1, usize::MAX >> 12), "too_large");
    let mut ask = generate(&job(), 1, 1);
    ask["prompt"] = json!([1_000_000]);
    client.fails(ask, "bad_request");
    let ids = vec![1; 257];
    let score = json!({"type": "score", "job": job(), "attempt": 1, "ids": ids, "logits_at": []});
    client.fails(score, "too_large");
    client.done(generate(&job(), 1, 3));
}

#[test]
fn a_job_goes_on_without_its_client_and_others_wait() {
    let runner = Runner::start();
    let mut client = loaded(&runner);
    let long = job();
    client.begin(generate(&long, 1, 250));
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    let mut client = runner.session();
    let other = client.ask(json!({"type": "list"}));
    client.done(json!({"type": "describe"}));
    client.done(json!({"type": "sample"}));
    if other["type"] == "failed" {
        assert_eq!(other["code"], "busy", "{other}");
    }
    let done = client.done(generate(&long, 1, 250));
    assert_eq!(done["result"]["ids"].as_array().unwrap().len(), 250);
    assert_eq!(done["attempt"], 1);
    assert_eq!(client.done(generate(&long, 2, 250))["replayed"], true);
    client.done(json!({"type": "list"}));
}
