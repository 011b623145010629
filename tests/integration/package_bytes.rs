//! Bytes of good packages, changed at random: each is refused or read, and none makes a panic.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evalkit::error::Exit;
use evalkit::package::blob::FILE_NAME;
use evalkit::package::blob::read::BlobFile;
use evalkit::package::constexpr;
use evalkit::package::execute::{Executable, Precision};
use evalkit::package::read::Package;
use proptest::prelude::*;

const PACKAGES: [&str; 5] = ["palettes", "linear", "sparse", "older", "shapes"];

fn data(package: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/packages");
    golden.join(format!("{package}.mlpackage/Data/com.apple.CoreML"))
}

fn model(package: &str) -> Vec<u8> {
    std::fs::read(data(package).join("model.mlmodel")).unwrap()
}

fn weights(package: &str) -> Vec<u8> {
    std::fs::read(data(package).join("weights/weight.bin")).unwrap()
}

/// Reads everything there is to read. A package that is refused is the input's fault.
fn read(model: &[u8], weights: &[u8]) -> bool {
    let result = BlobFile::new("weight.bin", &weights.to_vec().into()).and_then(|file| {
        let files = BTreeMap::from([(FILE_NAME.to_owned(), file)]);
        let package = Package::from_parts(Path::new("x.mlpackage"), model, files)?;
        for name in package.functions().keys() {
            for weight in constexpr::weights(&package, name)?.values() {
                if weight.elements() < 1 << 20 {
                    assert_eq!(weight.decode().len(), weight.elements());
                }
            }
            Executable::new(&package, name, Precision::Half)?;
        }
        Ok(())
    });
    if let Err(error) = &result {
        assert_eq!(error.exit(), Exit::Input, "{error}");
    }
    result.is_ok()
}

/// One change of bytes: set, cut, doubled.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Cut(usize, usize),
    Double(usize, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |place: &usize| place % bytes.len().max(1);
        match self {
            Change::Set(place, byte) => {
                let place = at(place);
                bytes[place] = *byte;
            }
            Change::Cut(place, len) => {
                let start = at(place);
                let end = (start + len).min(bytes.len());
                if end - start < bytes.len() {
                    bytes.drain(start..end);
                }
            }
            Change::Double(place, len) => {
                let start = at(place);
                let copy = bytes[start..(start + len).min(bytes.len())].to_vec();
                bytes.splice(start..start, copy);
            }
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        8 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<usize>(), 1usize..40).prop_map(|(at, len)| Change::Cut(at, len)),
        1 => (any::<usize>(), 1usize..40).prop_map(|(at, len)| Change::Double(at, len)),
    ];
    prop::collection::vec(change, 1..6)
}

#[test]
fn the_packages_are_good_before_they_are_changed() {
    for package in PACKAGES {
        assert!(read(&model(package), &weights(package)), "{package}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20000))]

    #[test]
    fn no_change_of_a_weight_file_makes_a_panic(
        package in prop::sample::select(PACKAGES.to_vec()),
        changes in changes(),
    ) {
        let mut bytes = weights(package);
        changes.iter().for_each(|change| change.apply(&mut bytes));
        read(&model(package), &bytes);
    }

    #[test]
    fn no_change_of_a_model_makes_a_panic(
        package in prop::sample::select(PACKAGES.to_vec()),
        changes in changes(),
    ) {
        let mut bytes = model(package);
        changes.iter().for_each(|change| change.apply(&mut bytes));
        read(&bytes, &weights(package));
    }
}
