//! The store's operations on the disk. Links are never followed, and failures become codes of the
//! protocol. Nothing here knows of packages.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::device::protocol::code::{Code, Refusal};

/// The permissions of folders and files that are created: they are for their owner alone.
pub const FOLDER_MODE: u32 = 0o700;
pub const FILE_MODE: u32 = 0o600;
/// How many bytes are read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// The refusal for a failure of the disk.
pub fn io_refusal(doing: &str, path: &Path, cause: &io::Error) -> Refusal {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let code = match cause.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => Code::NoSpace,
        _ => Code::Io,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Refusal::new(code, format!("cannot {doing} {name}: {cause}"))
}

/// Bytes that are free for ordinary users on the disk of `path`; `None` if the system does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes of the disk of `path`; `None` if the system does not tell.
pub fn capacity_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// Opens a regular file; an error if it is a link. A file that is created is for its owner alone.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    // The system takes the flags as a signed `int`.
    let options = options.mode(FILE_MODE).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("this is not a regular file"))
    }
}

/// Size of a regular file; `None` if there is no such file.
pub fn size_of(path: &Path) -> Option<u64> {
    let found = std::fs::symlink_metadata(path).ok()?;
    found.is_file().then_some(found.len())
}

/// Whether `path` is a folder and not a link.
pub fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Removes whatever is at `path`. A link is removed, not its target.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates the folder `path`, whose parent exists, for its owner alone, and replaces anything else at that
/// path.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if is_folder(path) {
        return Ok(());
    }
    remove(path)?;
    std::fs::DirBuilder::new().mode(FOLDER_MODE).create(path)
}

/// Creates `root` and, below it, the parent folders of `relative`, a path of the protocol.
pub fn make_parents(root: &Path, relative: &str) -> io::Result<()> {
    make_folder(root)?;
    relative.match_indices('/').try_for_each(|(at, _)| make_folder(&root.join(&relative[..at])))
}

/// Whether `root/relative` is a regular file and neither `root` nor any folder below it is a link.
pub fn is_plain(root: &Path, relative: &str) -> bool {
    let folders = relative.match_indices('/').all(|(at, _)| is_folder(&root.join(&relative[..at])));
    is_folder(root) && folders && size_of(&root.join(relative)).is_some()
}

/// Everything below a folder.
#[derive(Debug, Default)]
pub struct Tree {
    /// Files with their sizes.
    pub files: Vec<(PathBuf, u64)>,
    /// Folders, beginning with the given one.
    pub folders: Vec<PathBuf>,
    /// Links, devices, pipes.
    pub others: Vec<PathBuf>,
}

impl Tree {
    /// Reads the folder and all folders below it. No link is followed.
    pub fn read(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree { folders: vec![root.to_owned()], ..Tree::default() };
        let mut next = 0;
        while let Some(folder) = tree.folders.get(next).cloned() {
            next += 1;
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                let found = std::fs::symlink_metadata(&path)?;
                match found.file_type() {
                    kind if kind.is_dir() => tree.folders.push(path),
                    kind if kind.is_file() => tree.files.push((path, found.len())),
                    _ => tree.others.push(path),
                }
            }
        }
        Ok(tree)
    }

    /// Total bytes of its files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Hashes the next `bytes` bytes of a file.
pub fn hash(file: &mut File, bytes: u64) -> io::Result<Sha256> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read(&mut block[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                hash.update(&block[..count]);
                left -= count as u64;
            }
        }
    }
    Ok(hash)
}
