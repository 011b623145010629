//! The bytes of one checkpoint file: mapped from disk, or embedded in the binary.
//!
//! Memory mapping keeps memory use independent of the checkpoint's size: the kernel reads pages
//! when a tensor is decoded and may drop them again. This file and `model/gemm.rs` have
//! the crate's only `unsafe` code.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::foreign;
use crate::error::{At, Error, Result};
use crate::files::open_regular;

/// The bytes of one file, read-only.
#[derive(Debug)]
pub struct FileBytes {
    /// Where the bytes came from, for messages.
    pub path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Mapped { map: memmap2::Mmap, file: File, modified: Option<SystemTime> },
    Embedded(&'static [u8]),
    Empty,
}

impl FileBytes {
    /// Maps `path` for reading. Nothing is read before it is accessed.
    ///
    /// # Errors
    /// Errors of opening the file; an input error if `path` is not a file, or only points to one (Git
    /// LFS).
    pub fn map(path: &Path) -> Result<Self> {
        let failed = |e| Error::io("open", path, e);
        let (file, meta) = open_regular("open", path)?;
        if meta.len() == 0 {
            return Ok(FileBytes { path: path.into(), content: Content::Empty });
        }
        let map = Self::map_file(&file).map_err(failed)?;
        foreign::refuse_placeholder(&map).at(|| path.display())?;
        let content = Content::Mapped { map, modified: meta.modified().ok(), file };
        Ok(FileBytes { path: path.into(), content })
    }

    #[allow(unsafe_code)]
    fn map_file(file: &File) -> std::io::Result<memmap2::Mmap> {
        // SAFETY: the map is read-only, and every byte pattern is a valid u8. Another process may
        // still change the file. If it replaces the file by rename, the map keeps the old pages; if
        // it writes in place, `check_unchanged`, which is called before each layer, fails.
        unsafe { memmap2::Mmap::map(file) }
    }

    /// Bytes that are part of the program. Messages call them `name`.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        FileBytes { path: name.into(), content: Content::Embedded(bytes) }
    }

    /// Fails (input) if the file was changed in place since it was mapped.
    pub fn check_unchanged(&self) -> Result<()> {
        let Content::Mapped { map, file, modified } = &self.content else { return Ok(()) };
        let meta = file.metadata().map_err(|e| Error::io("examine", &self.path, e))?;
        if meta.len() == map.len() as u64 && meta.modified().ok() == *modified {
            return Ok(());
        }
        Err(Error::input("the file changed while it was being read")
            .at(self.path.display())
            .hint("do not change the checkpoint during a run; start the run again: finished windows are kept"))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.content {
            Content::Mapped { map, .. } => map,
            Content::Embedded(bytes) => bytes,
            Content::Empty => &[],
        }
    }
}
