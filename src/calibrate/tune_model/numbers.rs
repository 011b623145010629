//! Files of numbers that exist only while a model is tuned: little-endian f32, followed by their BLAKE3
//! hash, which detects incomplete files because writing does not wait for the disk.

use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::error::{Error, Result};
use crate::files::open_regular;

const HASH_BYTES: usize = blake3::OUT_LEN;

/// Writes numbers, replacing the file.
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

/// Reads a file that [`write_numbers`] wrote.
///
/// # Errors
/// Surroundings errors of the disk, an input error for a file that is damaged.
pub fn read_numbers(path: &Path) -> Result<Vec<f32>> {
    let (mut file, _) = open_regular("read", path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| Error::io("read", path, error))?;
    let intact = bytes.split_last_chunk::<HASH_BYTES>().filter(|(numbers, hash)| {
        numbers.len().is_multiple_of(4)
            && blake3::Hasher::new().update_rayon(numbers).finalize() == **hash
    });
    let Some((numbers, _)) = intact else {
        return Err(Error::input("the state of tuning is damaged").at(path.display()).hint(
            "remove the files next to it whose names contain `tuning`; tuning then starts again",
        ));
    };
    Ok(numbers.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back_and_damage_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let numbers = [0.0, -1.5, f32::from_bits(7)];
        write_numbers(&path, &numbers).unwrap();
        assert_eq!(read_numbers(&path).unwrap(), numbers);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(
            read_numbers(&path).unwrap_err().to_string().contains("the state of tuning is damaged")
        );
        std::fs::write(&path, &bytes[..9]).unwrap();
        assert!(read_numbers(&path).is_err());
    }
}
