//! Names of checkpoints, and what works without the network.

use super::names::Etag;
use super::*;

/// A cache as other tools leave it, with a whole checkpoint.
fn by_hand(cache: &Path, reference: &str) {
    let repository = cache.join("models--owner--tiny");
    let snapshot = repository.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), reference).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::write(snapshot.join(name), b"{}").unwrap();
    }
}

#[test]
fn without_the_network_the_cache_is_used_or_the_missing_file_is_named() {
    let server = Server::start();
    let offline = Hub { offline: true, ..server.hub.clone() };
    let fetch = |spec: &str| offline.fetch(spec, &mut |_| Ok(()));
    let error = fetch(SPEC).unwrap_err();
    assert_eq!(error.exit(), Exit::Surroundings);
    assert!(error.to_string().contains("config.json is not in the cache"), "{error}");
    let folder = server.fetch().unwrap();
    server.log();
    assert_eq!(fetch(SPEC).unwrap(), folder);
    assert_eq!(fetch(&format!("{SPEC}@{COMMIT}")).unwrap(), folder);
    assert!(fetch("hf:owner/tiny@other").is_err());
    assert!(fetch("hf:owner/tiny@main/x").is_err());
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    assert!(fetch(SPEC).unwrap_err().to_string().contains("model.safetensors is not in the cache"));
    assert!(server.log().is_empty());
}

#[test]
fn what_other_tools_left_is_found_by_branch_and_by_commit() {
    for reference in [COMMIT, &format!("{COMMIT}\n"), &format!(" {COMMIT}\r\n\t")] {
        let server = Server::start();
        by_hand(&server.hub.cache, reference);
        let hub = Hub { offline: true, ..server.hub.clone() };
        for spec in [SPEC.to_owned(), format!("{SPEC}@{COMMIT}"), format!("{SPEC}@main")] {
            let folder = hub.fetch(&spec, &mut |_| Ok(())).unwrap();
            assert!(folder.ends_with(COMMIT));
            assert_eq!(hub.fetch_outline(&spec, &mut |_| Ok(())).unwrap(), folder);
        }
    }
    for bad in ["", "main", "../../../escaped", "0123", &COMMIT[..39]] {
        let server = Server::start();
        by_hand(&server.hub.cache, bad);
        let hub = Hub { offline: true, ..server.hub.clone() };
        let error = hub.fetch(SPEC, &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("refs/main: expected a commit of 40"), "{error}");
    }
}

#[test]
fn a_commit_in_the_cache_needs_no_server() {
    let server = Server::start();
    by_hand(&server.hub.cache, COMMIT);
    let nobody = Hub { endpoint: "http://127.0.0.1:9".into(), ..server.hub.clone() };
    let spec = format!("{SPEC}@{COMMIT}");
    let mut lines = Vec::new();
    let mut watch = |event: Event<'_>| {
        if let Event::Message(line) = event {
            lines.push(line.to_owned());
        }
        Ok(())
    };
    nobody.fetch(&spec, &mut watch).unwrap();
    assert!(lines.last().unwrap().contains("using the files of this commit in the cache"));
    let snapshot = server.repository().join("snapshots").join(COMMIT);
    for name in OPTIONAL {
        std::fs::write(snapshot.join(name), b"{}").unwrap();
    }
    nobody.fetch(&spec, &mut |event| panic!("{event:?}")).unwrap();
    assert!(nobody.fetch(SPEC, &mut |_| Ok(())).is_err());
}

#[test]
fn a_server_may_not_answer_with_another_commit_than_asked_for() {
    let server = Server::start();
    let other = "f".repeat(40);
    let error = server.hub.fetch(&format!("{SPEC}@{other}"), &mut |_| Ok(())).unwrap_err();
    let expected = format!("expected the commit {other}, found \"{COMMIT}\"");
    assert!(error.to_string().contains(&expected), "{error}");
    let log = server.log();
    assert_eq!(log, [format!("/api/models/owner/tiny/revision/{other}?blobs=true")]);
}

#[test]
fn names_that_are_no_repository_are_refused() {
    for bad in [
        "owner/tiny",
        "hf:tiny",
        "hf:a/b/c",
        "hf:../x",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b@../c",
        "hf:a/b c",
        "hf:a--b/c",
        "hf:a/b--c",
        "hf:a/b@/c",
        "hf:a/b@c/",
        "hf:a/b@c//d",
        "hf:a/b@.c",
        "hf:a/b@c\nd",
        "hf:a/b@c\\d",
        "hf:a/b@c..d",
        "hf:a/b@-c",
        "hf:a/b@c d",
        "hf:/b",
        "hf:a/",
    ] {
        let error = Spec::parse(bad).unwrap_err();
        assert_eq!(error.exit(), Exit::Input, "{bad}");
        assert!(error.to_string().contains("expected hf:owner/name"), "{error}");
    }
    let spec = Spec::parse("hf:a/b@refs/pr/1").unwrap();
    assert_eq!(percent_encoded(spec.revision), "refs%2Fpr%2F1");
    assert_eq!(percent_encoded(Spec::parse("hf:a/b@x+y#ä").unwrap().revision), "x%2By%23%C3%A4");
}

#[test]
fn tags_are_read_as_other_tools_read_them() {
    let tag = |text| Etag::new(text).map(|etag| etag.as_str().to_owned());
    for text in ["abc-1", "\"abc-1\"", "W/\"abc-1\"", " \"abc-1\" "] {
        assert_eq!(tag(text).as_deref(), Some("abc-1"));
    }
    for bad in ["", "\"\"", "..", "a.b", "a/b", "/a", "a\"b", "a b", &"a".repeat(129)] {
        assert_eq!(tag(bad), None, "{bad}");
    }
}
