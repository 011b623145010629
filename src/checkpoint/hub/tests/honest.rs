//! Hubs that tell the truth, even if their connections fail.

use super::*;

#[test]
fn a_checkpoint_is_fetched_once_and_only_what_makes_it() {
    let server = Server::start();
    server.mood("model.safetensors", Mood::Redirecting);
    let mut told: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut watch = |event: Event<'_>| {
        if let Event::Progress { file, done_bytes, total_bytes } = event {
            let before = told.insert(file.to_owned(), (done_bytes, total_bytes));
            assert!(before.unwrap_or_default().0 <= done_bytes && done_bytes <= total_bytes);
        }
        Ok(())
    };
    let folder = server.hub.fetch(SPEC, &mut watch).unwrap();
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    server.assert_complete(&folder, &names);
    assert_eq!(told["model.safetensors"], (300_000, 300_000));
    assert!(!folder.join("README.md").exists() && !folder.join("generation_config.json").exists());
    assert!(folder.ends_with(format!("models--owner--tiny/snapshots/{COMMIT}")));
    let link = std::fs::read_link(folder.join("model.safetensors")).unwrap();
    assert!(link.starts_with("../../blobs"), "{link:?}");
    assert_eq!(std::fs::read_to_string(server.repository().join("refs/main")).unwrap(), COMMIT);
    assert!(server.incomplete().is_empty());
    server.log();
    assert_eq!(server.fetch().unwrap(), folder);
    let log = server.log();
    assert!(log.iter().all(|l| l.starts_with("/api/") || l.ends_with("bytes=0-0")), "{log:?}");
}

#[test]
fn shards_are_fetched_by_the_index() {
    let server = Server::start();
    server.state.lock().unwrap().files.remove("model.safetensors");
    server.serve("a-00001-of-00002.safetensors", b"first");
    server.serve("a-00002-of-00002.safetensors", b"second");
    let index = br#"{"weight_map": {"x": "a-00001-of-00002.safetensors", "y": "a-00002-of-00002.safetensors"}}"#;
    server.serve("model.safetensors.index.json", index);
    let outline = server.hub.fetch_outline(SPEC, &mut |_| Ok(())).unwrap();
    server.assert_complete(&outline, &["config.json", INDEX]);
    assert_eq!(std::fs::read_dir(&outline).unwrap().count(), 2, "more than the outline");
    let offline = Hub { offline: true, ..server.hub.clone() };
    assert_eq!(offline.fetch_outline(SPEC, &mut |_| Ok(())).unwrap(), outline);
    let folder = server.fetch().unwrap();
    let names = ["a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors", INDEX];
    server.assert_complete(&folder, &names);
}

#[test]
fn a_dropped_connection_is_continued_by_the_same_run_and_by_the_next() {
    let server = Server::start();
    server.mood("model.safetensors", Mood::DropsAfter(60_000));
    let error = server.fetch().unwrap_err();
    assert_eq!(error.exit(), Exit::Surroundings);
    let text = error.to_string();
    assert!(text.starts_with("hf:owner/tiny: model.safetensors: "), "{text}");
    assert!(text.contains("run the same command again: it continues"), "{text}");
    let log = server.log();
    assert!(log.iter().any(|line| line.ends_with("model.safetensors bytes=180000-")), "{log:?}");
    server.mood("model.safetensors", Mood::Honest);
    let folder = server.fetch().unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
    let log = server.log();
    assert!(log.iter().any(|line| line.ends_with("model.safetensors bytes=240000-")), "{log:?}");
}

#[test]
fn a_server_that_cannot_continue_sends_the_whole_file() {
    for mood in [Mood::IgnoresRange, Mood::RefusesRange, Mood::Misplaces] {
        let server = Server::start();
        server.mood("model.safetensors", Mood::DropsAfter(1000));
        server.fetch().unwrap_err();
        assert_eq!(server.incomplete().len(), 1);
        server.mood("model.safetensors", mood);
        let folder = server.fetch().unwrap();
        server.assert_complete(&folder, &["model.safetensors"]);
        assert!(server.incomplete().is_empty());
    }
}

#[test]
fn what_an_earlier_download_left_is_checked() {
    for left in [vec![7; 200_000], vec![7; 300_000], vec![7; 300_001]] {
        let server = Server::start();
        server.hub.fetch_outline(SPEC, &mut |_| Ok(())).unwrap();
        let etag = server.state.lock().unwrap().files["model.safetensors"].etag.clone();
        let part = server.repository().join("blobs").join(format!("{etag}.incomplete"));
        std::fs::write(part, left).unwrap();
        let folder = server.fetch().unwrap();
        server.assert_complete(&folder, &["model.safetensors"]);
    }
}

#[test]
fn an_interrupted_download_stops_at_once_and_continues() {
    let server = Server::start();
    server.mood("model.safetensors", Mood::Stalls);
    let mut bytes = 0;
    let started = std::time::Instant::now();
    let mut watch = |event: Event<'_>| match event {
        Event::Progress { file: "model.safetensors", done_bytes, .. } => {
            bytes = done_bytes;
            Ok(())
        }
        Event::Waiting if bytes > 0 => Err(Error::interrupted()),
        _ => Ok(()),
    };
    let error = server.hub.fetch(SPEC, &mut watch).unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
    assert!(started.elapsed() < Duration::from_secs(5));
    server.assert_nothing_got_in("interrupted");
    server.log();
    server.mood("model.safetensors", Mood::Honest);
    server.assert_complete(&server.fetch().unwrap(), &["model.safetensors"]);
    assert!(server.log().iter().any(|line| line.ends_with(" bytes=1000-")));
}

#[test]
fn a_damaged_cache_is_repaired() {
    let server = Server::start();
    let folder = server.fetch().unwrap();
    let weights = std::fs::canonicalize(folder.join("model.safetensors")).unwrap();
    std::fs::write(&weights, b"short").unwrap();
    server.fetch().unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
    std::fs::remove_file(&weights).unwrap();
    server.fetch().unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
}

#[test]
fn failures_of_the_server_are_answered_by_patience() {
    for (status, wait) in [(503, ""), (500, ""), (408, ""), (429, "0"), (429, "soon")] {
        let server = Server::start();
        server.mood("config.json", Mood::Fails(2, status, wait));
        let mut lines = Vec::new();
        let mut watch = |event: Event<'_>| {
            if let Event::Message(line) = event {
                lines.push(line.to_owned());
            }
            Ok(())
        };
        server.hub.fetch(SPEC, &mut watch).unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].contains(&format!("(status {status}); asking again in 0.0 s")),
            "{lines:?}"
        );
        server.mood("config.json", Mood::Fails(9, status, wait));
        server.log();
        let error = server.fetch().unwrap_err();
        assert_eq!(error.exit(), Exit::Surroundings);
        let asked = server.log().iter().filter(|line| line.contains("config.json")).count();
        assert_eq!(asked, 4, "{error}");
    }
    let server = Server::start();
    server.mood("config.json", Mood::Fails(1, 429, "86400"));
    let error = server.fetch().unwrap_err();
    assert!(error.to_string().contains("(status 429)"), "{error}");
}

#[test]
fn a_missing_and_a_gated_repository_give_different_errors() {
    let server = Server::start();
    for (status, exit, meaning) in [
        (404, Exit::Input, "there is no such repository"),
        (401, Exit::Surroundings, "set HF_TOKEN"),
        (403, Exit::Surroundings, "accept a licence"),
        (500, Exit::Surroundings, "the server failed (status 500)"),
        (204, Exit::Surroundings, "found status 204"),
    ] {
        server.state.lock().unwrap().status = Some(status);
        let error = server.fetch().unwrap_err();
        assert_eq!(error.exit(), exit, "{status}");
        assert!(error.to_string().contains(meaning), "{error}");
    }
    let nobody = Hub { endpoint: "http://127.0.0.1:9".into(), ..server.hub.clone() };
    let error = nobody.fetch(SPEC, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.exit(), Exit::Surroundings);
    assert!(error.to_string().contains("the connection failed"), "{error}");
}

#[test]
fn a_repository_without_readable_weights_is_refused_with_what_is_missing() {
    let server = Server::start();
    server.state.lock().unwrap().files.remove("model.safetensors");
    let error = server.fetch().unwrap_err();
    assert!(error.to_string().contains("has neither model.safetensors nor"), "{error}");
    server.state.lock().unwrap().files.remove("config.json");
    let error = server.fetch().unwrap_err();
    assert!(error.to_string().contains("the repository has no config.json"), "{error}");
}

#[test]
fn a_second_process_waits_for_the_first() {
    let server = Server::start();
    server.hub.fetch_outline(SPEC, &mut |_| Ok(())).unwrap();
    let etag = server.state.lock().unwrap().files["model.safetensors"].etag.clone();
    let locks = server.hub.cache.join(".locks/models--owner--tiny");
    let lock = std::fs::File::create(locks.join(format!("{etag}.lock"))).unwrap();
    lock.lock().unwrap();
    let mut lock = Some(lock);
    let mut lines = Vec::new();
    let mut watch = |event: Event<'_>| {
        match event {
            Event::Message(line) => lines.push(line.to_owned()),
            Event::Waiting if !lines.is_empty() => drop(lock.take()),
            _ => {}
        }
        Ok(())
    };
    let folder = server.hub.fetch(SPEC, &mut watch).unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
    assert_eq!(lines, ["model.safetensors: another process is fetching it; waiting for that"]);
}
