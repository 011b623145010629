//! Ids against published counts and hashes, and the promises of [`Encoded::starts`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::{Encoded, TextTokenizer};
use crate::checkpoint::FileBytes;
use crate::checkpoint::gguf::{self, Metadata, Value};

/// A file of the shared development data, or a note that it is absent.
fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).join(path);
    if !path.exists() {
        eprintln!("skipped: ../shared is not here");
        return None;
    }
    Some(path)
}

/// The SmolLM2 GGUF file that `EVALKIT_SMOLLM2` names, or a note that it is absent.
fn smollm2() -> Option<FileBytes> {
    let Some(path) = std::env::var_os("EVALKIT_SMOLLM2") else {
        eprintln!("skipped: EVALKIT_SMOLLM2 names no GGUF file");
        return None;
    };
    Some(FileBytes::map(Path::new(&path)).unwrap())
}

fn sha256(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes as plain text, checks the starts, and says how long it took.
fn encode(tokenizer: &TextTokenizer, text: &str) -> Encoded {
    let begun = Instant::now();
    let encoded = tokenizer.encode(text, false).unwrap();
    eprintln!("{} bytes, {} tokens, {:?}", text.len(), encoded.ids.len(), begun.elapsed());
    assert_starts(&encoded, text);
    encoded
}

fn assert_starts(encoded: &Encoded, text: &str) {
    assert_eq!(encoded.starts.len(), encoded.ids.len());
    let ends = encoded.starts.iter().skip(1).copied().chain([text.len() as u32]);
    let mut bytes = 0;
    for (&start, end) in encoded.starts.iter().zip(ends) {
        assert!(start <= end, "starts decrease at {start}");
        assert!(text.is_char_boundary(start as usize), "{start} lies inside a character");
        bytes += (end - start) as usize;
    }
    assert_eq!(bytes, text.len(), "the tokens' bytes add up to the text's");
}

#[test]
fn smollm2_from_gguf_gives_the_published_ids_for_wikitext() {
    let (Some(file), Some(text)) = (smollm2(), shared("datasets/wiki.test.raw")) else { return };
    let gguf = gguf::read(&file, 0).unwrap();
    let begun = Instant::now();
    let tokenizer = TextTokenizer::from_gguf(&gguf.metadata).unwrap();
    eprintln!("built in {:?}", begun.elapsed());
    assert_eq!((tokenizer.bos, tokenizer.add_bos, tokenizer.vocab_size()), (Some(1), false, 49152));
    let begun = Instant::now();
    let encoded = encode(&tokenizer, &std::fs::read_to_string(text).unwrap());
    assert!(begun.elapsed().as_secs() < 3);
    assert_eq!(encoded.ids.len(), 303_415);
    let expected = "18e663b61dd00f49796c8a6ae498b7dbe009cac4a2eaf3c67fa7d81baf47d945";
    assert_eq!(sha256(&encoded.ids), expected);
}

#[test]
fn stories260k_from_its_folder_gives_the_published_ids() {
    let Some(folder) = shared("models/stories260k") else { return };
    let tokenizer = TextTokenizer::from_folder(&folder).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.add_bos, tokenizer.vocab_size()), (Some(1), true, 512));
    for (name, count, expected) in STORIES {
        let text = std::fs::read_to_string(shared(name).unwrap()).unwrap();
        let begun = Instant::now();
        let encoded = encode(&tokenizer, &text);
        assert!(begun.elapsed().as_secs() < 3);
        assert_eq!(encoded.ids.len(), count, "{name}");
        assert_eq!(sha256(&encoded.ids), expected, "{name}");
    }
}

const STORIES: [(&str, usize, &str); 2] = [
    (
        "datasets/wiki.test.raw",
        809_289,
        "361291d3bf24dbb495a949f274fbb0e48a4fe2b933a75b09e44216f22c26be88",
    ),
    (
        "datasets/tinystories-train-head.txt",
        100_707,
        "c3163e7676b0e39f20ab8956f699efb23f03bf4e66a238ccfe04b3940c0cb54b",
    ),
];
