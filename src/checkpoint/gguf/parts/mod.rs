//! Models that are split over several GGUF files, as `llama-gguf-split` and convert_hf_to_gguf.py write
//! them.
//!
//! The first part has all metadata, and every part has its own table of tensors. Parts find each other by
//! their names, which end in `-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

use crate::checkpoint::bytes::FileBytes;
use crate::error::{At, Error, Result};

use super::header::{Header, parse};
use super::metadata::Metadata;

/// Most parts, which are all open at once. Models in use have up to about 100.
const MAX_PARTS: u32 = 1000;
const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// What a part says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    /// From 1 on.
    number: u32,
    /// The number of parts.
    count: u32,
    /// The number of tensors in all parts.
    tensors: usize,
}

/// Opens the parts of which `given` is one, with their headers as a single one. A model in one file is
/// its only part.
///
/// # Errors
/// Input errors with the path of the part: a damaged header, a missing part, parts that do not belong
/// together.
pub(super) fn open(given: FileBytes) -> Result<(Vec<FileBytes>, Header)> {
    let place = given.path.display().to_string();
    let header = parse(&given).at(|| &place)?;
    let Some(part) = Part::of(&header.metadata).at(|| &place)? else {
        return Ok((vec![given], header));
    };
    let paths = part.paths(&given.path).at(|| &place)?;
    let mut given = Some((given, header));
    let (mut files, mut whole) = (Vec::new(), None);
    for (number, path) in (1..).zip(paths) {
        let here = given.take_if(|_| number == part.number);
        let (file, header) = here.map_or_else(|| part.open_other(number, &path), Ok)?;
        let place = || path.display().to_string();
        let expected = Part { number, ..part };
        expected.check(&header.metadata).at(place)?;
        match &mut whole {
            None => whole = Some(header),
            Some(whole) => join(whole, header, files.len()).at(place)?,
        }
        files.push(file);
    }
    let whole = whole.ok_or_else(|| Error::bug("a model without parts"))?;
    if whole.tensors.len() != part.tensors {
        let (expected, found) = (part.tensors, whole.tensors.len());
        return Err(Error::input(format!(
            "expected {expected} tensors in all parts together, found {found}"
        ))
        .at(format!("key {TENSORS}"))
        .at(place)
        .hint("the parts are of different downloads: download all of them again"));
    }
    Ok((files, whole))
}

/// The name of a model whose part has this name, without extension.
pub fn whole_name(part: &str) -> &str {
    const END_LEN: usize = "-00001-of-00003".len();
    part.len().checked_sub(END_LEN).and_then(|len| part.get(..len)).unwrap_or(part)
}

impl Part {
    /// `None` if the model is not split.
    fn of(metadata: &Metadata) -> Result<Option<Part>> {
        let Some(count @ 2..) = metadata.integer(COUNT)? else { return Ok(None) };
        let count =
            u32::try_from(count).ok().filter(|count| *count <= MAX_PARTS).ok_or_else(|| {
                Error::input(format!("expected at most {MAX_PARTS} parts, found {count}"))
                    .at(format!("key {COUNT}"))
            })?;
        let no = metadata.required(NO, metadata.integer(NO))?;
        let number = u32::try_from(no).ok().filter(|no| *no < count).ok_or_else(|| {
            Error::input(format!("expected a number below {count}, found {no}"))
                .at(format!("key {NO}"))
        })?;
        let tensors = metadata.required(TENSORS, metadata.integer(TENSORS))?;
        let tensors = usize::try_from(tensors).map_err(|_| {
            Error::input(format!("expected a number of tensors, found {tensors}"))
                .at(format!("key {TENSORS}"))
        })?;
        Ok(Some(Part { number: number + 1, count, tensors }))
    }

    /// The paths of all parts, in their order.
    fn paths(self, own: &Path) -> Result<Vec<PathBuf>> {
        let Part { number, count, .. } = self;
        let end = |number: u32| format!("-{number:05}-of-{count:05}.gguf");
        let name = own.file_name().unwrap_or_default().to_string_lossy();
        let Some(stem) = name.strip_suffix(&end(number)).map(str::to_owned) else {
            return Err(Error::input(format!(
                "this is part {number} of {count}: expected a name that ends in {}",
                end(number)
            ))
            .hint("give the parts their names back: they find each other by them"));
        };
        let folder = own.parent().map_or_else(PathBuf::new, Path::to_owned);
        Ok((1..=count).map(|number| folder.join(format!("{stem}{}", end(number)))).collect())
    }

    fn open_other(self, number: u32, path: &Path) -> Result<(FileBytes, Header)> {
        let place = || path.display().to_string();
        if !path.exists() {
            let count = self.count;
            return Err(Error::input(format!("part {number} of {count} is missing"))
                .at(place())
                .hint("put all parts of the model into one folder, under their own names"));
        }
        let file = FileBytes::map(path)?;
        let header = parse(&file).at(place)?;
        Ok((file, header))
    }

    /// Fails (input) if the metadata are not those of this part.
    fn check(self, metadata: &Metadata) -> Result<()> {
        let found = Part::of(metadata)?;
        if found == Some(self) {
            return Ok(());
        }
        let say = |Part { number, count, tensors }| {
            format!("part {number} of {count} of {tensors} tensors")
        };
        let found = found.map_or_else(|| "a model in one file".to_owned(), say);
        Err(Error::input(format!("expected {}, found {found}", say(self)))
            .hint("this file is of another model, or was renamed: download the parts again"))
    }
}

/// Adds a part's tensors to those before it. Its metadata may only repeat the first part's.
fn join(whole: &mut Header, part: Header, file: usize) -> Result<()> {
    for (key, value) in part.metadata.iter() {
        let is_own = key.starts_with("split.") || key == "general.alignment";
        if !is_own && whole.metadata.get(key) != Some(value) {
            return Err(Error::input("the value is not that of the first part")
                .at(format!("key {key}"))
                .hint("the parts are of different models"));
        }
    }
    for (name, mut entry) in part.tensors {
        entry.file = file;
        if whole.tensors.insert(name.clone(), entry).is_some() {
            return Err(
                Error::input("a part before this one has it, too").at(format!("tensor {name}"))
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
