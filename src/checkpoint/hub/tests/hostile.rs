//! Hubs that lie. Whatever they say, the result is an error in words, nothing is written outside of
//! the cache, and no file is taken for whole that is not.

use super::*;

/// Limits under which a test of them is quick.
fn hurried(server: &Server) -> Hub {
    let mut hub = server.hub.clone();
    hub.limits.stall = Duration::from_secs(1);
    hub.limits.slow = Duration::from_millis(1500);
    hub.limits.patience = Duration::from_millis(800);
    hub
}

#[test]
fn every_lie_about_the_weights_ends_in_an_error() {
    let escape = "../../../../escaped";
    for (mood, expected) in [
        (Mood::RedirectsTo("file:///etc/passwd"), "redirected to \"file:///etc/passwd\""),
        (Mood::RedirectsTo("https://127.0.0.1/x"), "which is not http, as the server's address"),
        (Mood::RedirectsTo(""), "redirected to \"\", which is no address"),
        (Mood::RedirectsTo("?x=1"), "redirected more than 5 times"),
        (Mood::RedirectsTo("http://a b/"), "which is no address"),
        (Mood::RedirectsNowhere, "redirected without a place to go to"),
        (Mood::Announces(300_001), "expected 300001 bytes, but the server has none after 300000"),
        (Mood::Announces(299_999), "expected 299999 bytes, received more"),
        (Mood::Announces(1 << 60), "free bytes on the disk"),
        (Mood::Flips(2), "expected bytes with the digest"),
        (Mood::Retags(escape, 1), "expected an ETag of letters and digits, found "),
        (Mood::Retags("/tmp/escaped", 1), "expected an ETag of letters and digits"),
        (Mood::Retags("x.incomplete", 1), "expected an ETag of letters and digits"),
        (Mood::Retags("another", 2), "expected the ETag"),
        (Mood::Recommits(escape), "expected commit 0123"),
        (Mood::Recommits("1123456789abcdef0123456789abcdef01234567"), "expected commit 0123"),
        (Mood::Endless, "expected 300000 bytes, received more"),
        (Mood::Compresses, "expected plain bytes, found them coded as \"gzip\""),
        (Mood::Stalls, "the server sent nothing for 1 s"),
        (Mood::Trickles, "the server is too slow"),
        (Mood::Fails(99, 304, ""), "found status 304"),
        (Mood::Fails(99, 300, ""), "found status 300"),
    ] {
        let server = Server::start();
        server.mood("model.safetensors", mood);
        let error = hurried(&server).fetch(SPEC, &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.exit(), Exit::Surroundings, "{mood:?}: {error}");
        assert!(error.to_string().contains(expected), "{mood:?}: {error}");
        assert!(!error.cause().contains(char::is_control), "{error}");
        server.assert_nothing_got_in(expected);
        // The same cache is good for an honest server.
        server.mood("model.safetensors", Mood::Honest);
        server.assert_complete(&server.fetch().unwrap(), &["model.safetensors"]);
    }
}

#[test]
fn a_tag_that_is_no_name_is_refused_at_the_first_reply_too() {
    for bad in ["../../../escaped", "/tmp/escaped", "", ".", "a.incomplete", "a/b", "a\\b", "ä"] {
        let server = Server::start();
        server.change("config.json", |served| served.etag = bad.into());
        let error = server.fetch().unwrap_err();
        assert!(error.to_string().contains("expected "), "{bad}: {error}");
        server.assert_nothing_got_in(bad);
    }
}

#[test]
fn damage_that_happens_once_is_repaired() {
    for mood in [Mood::Flips(1), Mood::Retags("another", 1)] {
        let server = Server::start();
        server.mood("model.safetensors", mood);
        let mut lines = Vec::new();
        let mut watch = |event: Event<'_>| {
            if let Event::Message(line) = event {
                lines.push(line.to_owned());
            }
            Ok(())
        };
        let folder = server.hub.fetch(SPEC, &mut watch).unwrap();
        server.assert_complete(&folder, &["model.safetensors"]);
        assert!(lines[0].ends_with("; fetching it once more"), "{lines:?}");
    }
}

#[test]
fn a_file_must_have_the_digest_of_the_list_and_that_of_its_tag() {
    let server = Server::start();
    let digest = server.state.lock().unwrap().files["model.safetensors"].etag.clone();
    let names =
        ["config.json", "tokenizer.json"].map(|name| format!("{{\"rfilename\": \"{name}\"}}"));
    let about = format!(
        "{{\"sha\": \"{COMMIT}\", \"siblings\": [{}, {{\"rfilename\": \"model.safetensors\", \
         \"size\": 300000, \"blobId\": \"{COMMIT}\", \"lfs\": {{\"sha256\": \"{digest}\"}}}}]}}",
        names.join(", ")
    );
    server.state.lock().unwrap().about = Some(about.into_bytes());
    for (tag, mood) in [("no-digest", Mood::Flips(2)), (&*"0".repeat(64), Mood::Honest)] {
        server.change("model.safetensors", |served| served.etag = tag.into());
        server.mood("model.safetensors", mood);
        let error = server.fetch().unwrap_err();
        assert!(error.to_string().contains("expected bytes with the digest"), "{error}");
        server.assert_nothing_got_in(tag);
    }
    server.change("model.safetensors", |served| served.etag = "no-digest".into());
    server.mood("model.safetensors", Mood::Honest);
    server.assert_complete(&server.fetch().unwrap(), &["model.safetensors"]);
}

#[test]
fn a_reply_about_the_repository_is_bounded_and_checked() {
    let long = [vec![b' '; 17 << 20], b"{}".to_vec()].concat();
    let about = |sha: &str| format!("{{\"sha\": \"{sha}\", \"siblings\": []}}").into_bytes();
    for (body, expected) in [
        (long, "expected at most 16 MB"),
        (b"\x1f\x8b\x08".to_vec(), "expected what the hub says about a repository"),
        (b"[]".to_vec(), "expected what the hub says about a repository"),
        (about("../../../../escaped"), "expected the commit 40 hexadecimal digits, found \"../"),
        (about("\\u001b[31mRED"), "found \"\\u{1b}[31mRED\""),
        (about(""), "expected the commit 40 hexadecimal digits"),
    ] {
        let server = Server::start();
        server.state.lock().unwrap().about = Some(body);
        let error = server.fetch().unwrap_err();
        assert_eq!(error.exit(), Exit::Surroundings);
        assert!(error.to_string().contains(expected), "{error}");
        server.assert_nothing_got_in(expected);
    }
}

#[test]
fn an_index_may_not_point_out_of_the_folder() {
    for name in ["../evil.safetensors", "/etc/evil.safetensors", "a/b.safetensors", "model.bin"] {
        let server = Server::start();
        server.state.lock().unwrap().files.remove("model.safetensors");
        let index = format!("{{\"weight_map\": {{\"x\": \"{name}\"}}}}");
        server.serve("model.safetensors.index.json", index.as_bytes());
        let error = server.fetch().unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        assert!(
            error.to_string().contains("expected a file name")
                || error.to_string().contains("expected plain names of .safetensors files"),
            "{error}"
        );
    }
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let (server, other) = (Server::start(), Server::start());
    let hub = Hub { token: Some("hf_secret\n".into()), ..server.hub.clone() };
    server.mood("model.safetensors", Mood::Redirecting);
    hub.fetch(SPEC, &mut |_| Ok(())).unwrap();
    let log = server.log();
    assert!(log.iter().all(|line| line.ends_with("Bearer hf_secret")), "{log:?}");
    // There and back again: another host redirects to the hub.
    let to_other = other.hub.endpoint.clone();
    server.state.lock().unwrap().elsewhere = Some(to_other);
    hub.fetch(SPEC, &mut |_| Ok(())).unwrap_err();
    let log = other.log();
    assert!(!log.is_empty() && log.iter().all(|line| !line.contains("secret")), "{log:?}");
    other.state.lock().unwrap().elsewhere = Some(server.hub.endpoint.clone());
    server.log();
    hub.fetch(SPEC, &mut |_| Ok(())).unwrap_err();
    let log = server.log();
    assert!(log[0].contains("secret") && !log[1].contains("secret"), "{log:?}");
}

#[test]
fn another_host_cannot_speak_for_the_hub() {
    let (server, other) = (Server::start(), Server::start());
    server.state.lock().unwrap().elsewhere = Some(other.hub.endpoint.clone());
    let error = server.fetch().unwrap_err();
    assert!(
        error.to_string().contains("expected an ETag from the server of HF_ENDPOINT, found none"),
        "{error}"
    );
    server.assert_nothing_got_in("another host");
}

#[test]
fn a_token_that_would_be_more_than_a_header_is_refused() {
    for bad in ["a\r\nx: y", "a b", "a\0", "ä", " ", &"x".repeat(5000)] {
        let server = Server::start();
        let hub = Hub { token: Some(bad.into()), ..server.hub.clone() };
        let error = hub.fetch(SPEC, &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.exit(), Exit::Input, "{error}");
        assert!(error.to_string().contains("the token for the hub"), "{error}");
        assert!(server.log().is_empty());
    }
}
