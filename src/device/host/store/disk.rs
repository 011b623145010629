//! What the store asks of the disk: links are never followed, failures become codes of the
//! protocol. Knows nothing of packages.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::device::protocol::content::Refused;
use crate::device::protocol::message::Code;

/// Bytes that are read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// A failure of the disk as the protocol has it.
pub fn fault(doing: &str, path: &Path, cause: &io::Error) -> Refused {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let code = match cause.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => Code::NoSpace,
        _ => Code::Io,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (code, format!("cannot {doing} {name}: {cause}"))
}

/// Free bytes where `path` lies, for who is not the system's administrator.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Opens a file that is no link.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    // The flags' bits are those of the system's `int`.
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("this is no file")) }
}

/// Size of a regular file; nothing where there is none.
pub fn size_of(path: &Path) -> Option<u64> {
    let found = std::fs::symlink_metadata(path).ok()?;
    found.is_file().then_some(found.len())
}

/// Whether there is a folder that is no link.
pub fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Removes whatever lies at `path`; of a link the link.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the folder `path`, whose parent exists, where something else lies instead of that.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if is_folder(path) {
        return Ok(());
    }
    remove(path)?;
    std::fs::create_dir(path)
}

/// Makes the folders that `relative`, a path of the protocol, lies in below `root`.
pub fn make_parents(root: &Path, relative: &str) -> io::Result<()> {
    make_folder(root)?;
    relative.match_indices('/').try_for_each(|(at, _)| make_folder(&root.join(&relative[..at])))
}

/// Whether `relative` and every folder above it, below `root`, are what they seem and no links.
pub fn is_plain(root: &Path, relative: &str) -> bool {
    let folders = relative.match_indices('/').all(|(at, _)| is_folder(&root.join(&relative[..at])));
    is_folder(root) && folders && size_of(&root.join(relative)).is_some()
}

/// What lies below a folder.
#[derive(Debug, Default)]
pub struct Tree {
    /// Files with their sizes.
    pub files: Vec<(PathBuf, u64)>,
    /// Folders, the given one first.
    pub folders: Vec<PathBuf>,
    /// Links, devices, pipes.
    pub others: Vec<PathBuf>,
}

impl Tree {
    /// Reads the folder; nothing is followed.
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

    /// Bytes of its files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Waits until a folder's names have reached the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
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
