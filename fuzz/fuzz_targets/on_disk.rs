//! A fuzzer's input as a file or as a file of a folder, for readers that take a path.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    root.join(format!("evalkit-fuzz-{}", std::process::id()))
}

/// Reads `bytes` as the file `name`.
pub fn file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    folder(name, bytes, &[], |folder| read(&folder.join(name)));
}

/// Reads a folder that holds `bytes` as the file `name`, and `others`, which are written once.
pub fn folder(name: &str, bytes: &[u8], others: &[(&str, &[u8])], read: impl FnOnce(&Path)) {
    let folder = scratch();
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    for (other, content) in others {
        let path = folder.join(other);
        if !path.exists() {
            std::fs::write(path, content).expect("a file can be written");
        }
    }
    std::fs::write(folder.join(name), bytes).expect("a file can be written");
    read(&folder);
    std::fs::remove_file(folder.join(name)).expect("the file is still there");
}
