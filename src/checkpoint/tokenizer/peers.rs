//! Ids and words against llama.cpp's own. `tests/peers/vocabularies.sh` fetches both, and names them in
//! `EVALKIT_VOCABULARIES` and `EVALKIT_WORDS`; without these the tests say that they are skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::pre::Rule;
use super::{Encoded, PRETOKENIZER, Pieces, TextTokenizer};
use crate::checkpoint::FileBytes;
use crate::checkpoint::gguf::{self, Metadata};

/// What divides the texts of a file.
const DIVIDER: &str = "\n__ggml_vocab_test__\n";
/// Vocabularies of causal models that llama.cpp 's distribution has with ids.
const COMPARED: usize = 14;
/// Bytes of the text that is read in pieces.
const LONG_BYTES: usize = 200 << 10;

fn named(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: {variable} is not set (tests/peers/vocabularies.sh)");
    }
    path
}

/// One file of a vocabulary, with the texts and ids beside it.
struct Vocabulary {
    name: String,
    metadata: Metadata,
    cases: Vec<(String, Vec<u32>)>,
}

impl Vocabulary {
    fn read(path: &Path) -> Vocabulary {
        let beside = |end: &str| std::fs::read_to_string(format!("{}.{end}", path.display()));
        let cases = match (beside("inp"), beside("out")) {
            (Ok(texts), Ok(ids)) => {
                let texts = texts.strip_suffix(DIVIDER).unwrap_or(&texts).split(DIVIDER);
                let ids = ids.lines().map(|line| {
                    line.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>()
                });
                let (texts, ids): (Vec<_>, Vec<_>) = (texts.collect(), ids.collect());
                assert_eq!(texts.len(), ids.len(), "{}", path.display());
                texts.into_iter().map(str::to_owned).zip(ids).collect()
            }
            _ => Vec::new(),
        };
        let metadata = gguf::metadata(&FileBytes::map(path).unwrap()).unwrap();
        let stem = path.file_stem().unwrap().to_string_lossy();
        Vocabulary { name: stem.replace("ggml-vocab-", ""), metadata, cases }
    }

    fn list(&self, key: &str) -> Option<&[String]> {
        self.metadata.texts(&format!("tokenizer.ggml.{key}")).unwrap()
    }

    fn is_causal(&self) -> bool {
        !matches!(self.metadata.text("tokenizer.ggml.model").unwrap(), Some("bert" | "t5"))
    }

    /// The tokenizer. Files of 2023 do not name the rule that splits text.
    fn tokenizer(&self) -> TextTokenizer {
        let mut metadata = self.metadata.clone();
        if metadata.text(super::TOKENIZER_MODEL).unwrap() == Some(super::BYTE_LEVEL)
            && metadata.text(PRETOKENIZER).unwrap().is_none()
        {
            let error = TextTokenizer::from_gguf(&metadata).unwrap_err().to_string();
            assert!(error.contains("--pretokenizer NAME"), "{}: {error}", self.name);
            metadata.set_text(PRETOKENIZER, "gpt-2");
        }
        TextTokenizer::from_gguf(&metadata).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

fn in_pieces(tokenizer: &TextTokenizer, text: &str) -> (Encoded, usize) {
    let mut pieces = Pieces::new(tokenizer, false, text.as_bytes(), 0);
    let (mut joined, mut count) = (Encoded::default(), 0);
    while let Some(piece) = pieces.next_piece().unwrap() {
        joined.ids.extend(piece.encoded.ids);
        joined.starts.extend(piece.encoded.starts);
        count += 1;
    }
    (joined, count)
}

#[test]
fn vocabularies_give_the_ids_of_llama_cpp() {
    let Some(folder) = named("EVALKIT_VOCABULARIES") else { return };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    paths.sort();
    let all: Vec<_> = paths.iter().map(|path| Vocabulary::read(path)).collect();
    let (mut compared, mut wrong) = (0, Vec::new());
    for vocabulary in &all {
        let name = &vocabulary.name;
        if !vocabulary.is_causal() {
            let error = TextTokenizer::from_gguf(&vocabulary.metadata).unwrap_err().to_string();
            assert!(error.contains("the tokenizer model"), "{name}: {error}");
            eprintln!("{name}: an encoder, refused: {}", error.lines().next().unwrap());
            continue;
        }
        let tokenizer = vocabulary.tokenizer();
        let is_same = |other: &&Vocabulary| {
            ["tokens", "merges"].iter().all(|key| other.list(key) == vocabulary.list(key))
        };
        // A file without ids is compared with those of one that has the same vocabulary.
        let twin = all.iter().filter(|other| !other.cases.is_empty()).find(is_same);
        let cases = twin.map_or(&[][..], |twin| &twin.cases);
        let mut ids_compared = 0;
        for (text, ids) in cases {
            let found = tokenizer.encode(text, false).unwrap().ids;
            ids_compared += ids.len();
            if found != *ids {
                wrong.push(format!("{name}: {text:?}\n  expected {ids:?}\n  found    {found:?}"));
            }
        }
        compared += usize::from(!vocabulary.cases.is_empty());
        let texts: String =
            all.iter().flat_map(|of| &of.cases).map(|(text, _)| text.as_str()).collect();
        let sentence = format!("{texts} And so it goes on. ");
        let long = sentence.repeat(LONG_BYTES / sentence.len() + 1);
        let (joined, count) = in_pieces(&tokenizer, &long);
        assert_eq!(joined, tokenizer.encode(&long, false).unwrap(), "{name} in pieces");
        assert!(count > 1, "{name} is read as a whole");
        let with = match twin {
            Some(twin) if twin.name != *name => format!(" as {}", twin.name),
            Some(_) => String::new(),
            None => " (there are no ids to compare)".to_owned(),
        };
        eprintln!("{name}: {} texts, {ids_compared} ids{with}; {count} pieces", cases.len());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= COMPARED, "only {compared} vocabularies with ids");
}

/// What `tests/peers/words_llama_cpp.py` writes.
#[derive(Deserialize)]
struct Words {
    texts: Vec<String>,
    rules: BTreeMap<String, NamedRule>,
}

#[derive(Deserialize)]
struct NamedRule {
    ignore_merges: bool,
    add_bos: bool,
    /// The model's own expression is another one, which llama.cpp's stands for.
    is_approximate: bool,
    /// For each text the lengths of its words in characters.
    lengths: Vec<Vec<usize>>,
}

/// The lengths of the words of a text, in characters.
fn lengths(rule: &Rule, text: &str) -> Vec<usize> {
    let mut words = PreTokenizedString::from(text);
    rule.pre_tokenizer().unwrap().pre_tokenize(&mut words).unwrap();
    let splits = words.get_splits(OffsetReferential::Original, OffsetType::Char);
    splits.into_iter().map(|(_, (start, end), _)| end - start).collect()
}

#[test]
fn words_are_those_of_llama_cpp() {
    let Some(path) = named("EVALKIT_WORDS") else { return };
    let Words { texts, rules } = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let missing: Vec<_> =
        Rule::names().into_iter().filter(|name| !rules.contains_key(*name)).collect();
    assert!(missing.is_empty(), "llama.cpp does not know {missing:?}");
    let (mut wrong, mut unknown, mut words) = (Vec::new(), Vec::new(), 0);
    for (name, theirs) in &rules {
        let Ok(ours) = Rule::named(Some(name)) else {
            unknown.push(name.as_str());
            continue;
        };
        let flags = (theirs.ignore_merges, theirs.add_bos);
        assert_eq!((ours.ignore_merges, ours.add_bos), flags, "{name}");
        assert_eq!(theirs.lengths.len(), texts.len());
        for (text, expected) in texts.iter().zip(&theirs.lengths) {
            if theirs.is_approximate && !text.is_ascii() {
                continue;
            }
            let found = lengths(&ours, text);
            words += found.len();
            if found != *expected {
                wrong.push(format!(
                    "{name}: {text:?}\n  expected {expected:?}\n  found    {found:?}"
                ));
            }
        }
    }
    eprintln!("{} texts, {words} words by {} rules", texts.len(), rules.len() - unknown.len());
    eprintln!("refused by name: {}", unknown.join(", "));
    let shown: Vec<_> = wrong.iter().take(20).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), shown.join("\n"));
    assert!(words > 10_000, "{words} words");
}
