//! Files of numbers that are only there while a model is tuned: little-endian f32, and last their
//! BLAKE3 hash, because they are written without waiting for the disk.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

const HASH_BYTES: usize = blake3::OUT_LEN;

/// Writes numbers in place of what was there.
///
/// # Errors
/// Surroundings errors of the disk.
pub fn write_numbers(path: &Path, numbers: &[f32]) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    let bytes: &[u8] = bytemuck::cast_slice(numbers);
    let hash = blake3::Hasher::new().update_rayon(bytes).finalize();
    let mut file = std::fs::File::create(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.write_all(hash.as_bytes())).map_err(failed)
}

/// Reads what [`write_numbers`] wrote.
///
/// # Errors
/// Surroundings errors of the disk, an input error for a file that is damaged.
pub fn read_numbers(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    let intact = bytes.split_last_chunk::<HASH_BYTES>().filter(|(numbers, hash)| {
        numbers.len().is_multiple_of(4)
            && blake3::Hasher::new().update_rayon(numbers).finalize() == **hash
    });
    let Some((numbers, _)) = intact else {
        return Err(Error::input("a damaged state of tuning").at(path.display()).hint(
            "remove the files beside it whose names contain `tuning`, and tuning begins anew",
        ));
    };
    Ok(numbers.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let numbers = [0.0, -1.5, f32::from_bits(7)];
        write_numbers(&path, &numbers).unwrap();
        assert_eq!(read_numbers(&path).unwrap(), numbers);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(read_numbers(&path).unwrap_err().to_string().contains("a damaged state of tuning"));
        std::fs::write(&path, &bytes[..9]).unwrap();
        assert!(read_numbers(&path).is_err());
    }
}
