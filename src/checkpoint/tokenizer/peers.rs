//! Ids and words against llama.cpp's own. `tests/peers/vocabularies.sh` fetches both, and names them in
//! `EVALKIT_VOCABULARIES` and `EVALKIT_WORDS`; without these the tests say that they are skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::pre::Rule;
use super::scores::assert_as_searched;
use super::{Encoded, PRETOKENIZER, Pieces, TextTokenizer};
use crate::checkpoint::FileBytes;
use crate::checkpoint::gguf::{self, Metadata};

/// What divides the texts of a file.
const DIVIDER: &str = "\n__ggml_vocab_test__\n";
/// Vocabularies of causal models that llama.cpp has ids for.
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

    /// Whether a user-defined token, which is recognized before the search, is in a text.
    fn finds_a_token_in(&self, text: &str) -> bool {
        let kinds = self.metadata.integers("tokenizer.ggml.token_type").unwrap().unwrap();
        let mut tokens = self.list("tokens").unwrap().iter().zip(kinds);
        tokens.any(|(token, kind)| *kind == 4 && text.contains(token.as_str()))
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

/// The texts that give other ids than those beside them. Says what was compared.
fn compare(vocabulary: &Vocabulary, tokenizer: &TextTokenizer, all: &[Vocabulary]) -> Vec<String> {
    let name = &vocabulary.name;
    // A file without ids is compared with those of one that has the same vocabulary.
    let is_same = |other: &&Vocabulary| {
        ["tokens", "merges"].iter().all(|key| other.list(key) == vocabulary.list(key))
    };
    let others = all.iter().filter(is_same);
    let twin = [vocabulary].into_iter().chain(others).find(|other| !other.cases.is_empty());
    let cases = twin.map_or(&[][..], |twin| &twin.cases);
    let mut wrong = Vec::new();
    for (text, ids) in cases {
        let found = tokenizer.encode(text, false).unwrap().ids;
        if found != *ids {
            wrong.push(format!("{name}: {text:?}\n  expected {ids:?}\n  found    {found:?}"));
        }
    }
    let with = match twin {
        Some(twin) if twin.name != *name => format!(", those of {}", twin.name),
        Some(_) => String::new(),
        None => " (the peer has none)".to_owned(),
    };
    let ids: usize = cases.iter().map(|(_, ids)| ids.len()).sum();
    eprintln!("{name}: {} texts, {ids} ids{with}; {} differ", cases.len(), wrong.len());
    wrong
}

#[test]
fn vocabularies_give_the_ids_of_llama_cpp() {
    let Some(folder) = named("EVALKIT_VOCABULARIES") else { return };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    paths.sort();
    let all: Vec<_> = paths.iter().map(|path| Vocabulary::read(path)).collect();
    let texts: BTreeSet<&str> =
        all.iter().flat_map(|of| &of.cases).map(|(text, _)| text.as_str()).collect();
    let joined = texts.iter().copied().collect::<String>() + " And so it goes on. ";
    let long = joined.repeat(LONG_BYTES / joined.len() + 1);
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
        wrong.extend(compare(vocabulary, &tokenizer, &all));
        compared += usize::from(!vocabulary.cases.is_empty());
        if vocabulary.list("merges").is_none() {
            for text in texts.iter().filter(|text| !vocabulary.finds_a_token_in(text)) {
                assert_as_searched(&tokenizer, &vocabulary.metadata, text);
            }
        }
        let (pieces, count) = in_pieces(&tokenizer, &long);
        assert_eq!(pieces, tokenizer.encode(&long, false).unwrap(), "{name} in pieces");
        assert!(count > 1, "{name} is read as a whole");
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
    /// For each text the lengths of its words in characters; `None` if llama.cpp's expression only
    /// comes close to the model's own there.
    lengths: Vec<Option<Vec<usize>>>,
}

/// The lengths of the words of a text, in characters.
fn lengths(pre_tokenizer: &PreTokenizerWrapper, text: &str) -> Vec<usize> {
    let mut words = PreTokenizedString::from(text);
    pre_tokenizer.pre_tokenize(&mut words).unwrap();
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
        let pre_tokenizer = ours.pre_tokenizer().unwrap();
        for (text, expected) in texts.iter().zip(&theirs.lengths) {
            let Some(expected) = expected else { continue };
            let found = lengths(&pre_tokenizer, text);
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
