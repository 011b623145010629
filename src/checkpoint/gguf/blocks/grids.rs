//! The grids of the IQ types: rows of values that weights take together.
//!
//! `grids.bin` has the tables of ggml (`ggml-common.h`; MIT licence, in `grids.LICENSE`) as the gguf
//! package of llama.cpp packs them: fields of 2 bits, or of 4 bits for IQ3, the lowest first, which are
//! indices into a list of values. `tests/golden/make_blocks.py` writes it.

const PACKED: &[u8; 9216] = include_bytes!("grids.bin");

/// Values of a coordinate of IQ2.
const IQ2: [i8; 3] = [8, 25, 43];

pub static IQ2_XXS: [[i8; 8]; 256] = unpack(0, &IQ2);
pub static IQ2_XS: [[i8; 8]; 512] = unpack(512, &IQ2);
pub static IQ2_S: [[i8; 8]; 1024] = unpack(1536, &IQ2);
pub static IQ3_XXS: [[i8; 4]; 256] = unpack(3584, &[4, 12, 20, 28, 36, 44, 52, 62]);
pub static IQ3_S: [[i8; 4]; 512] = unpack(4096, &[1, 3, 5, 7, 9, 11, 13, 15]);
/// Of IQ1_S and IQ1_M.
pub static IQ1: [[i8; 8]; 2048] = unpack(5120, &[-1, 0, 1]);

/// The rows that start at byte `start`. Rows of 8 values have 2 bits for each, rows of 4 have 4 bits.
const fn unpack<const WIDTH: usize, const ROWS: usize>(
    start: usize,
    values: &[i8],
) -> [[i8; WIDTH]; ROWS] {
    let bits = 16 / WIDTH;
    let mut rows = [[0; WIDTH]; ROWS];
    let mut row = 0;
    while row < ROWS {
        let at = start + 2 * row;
        let packed = u16::from_le_bytes([PACKED[at], PACKED[at + 1]]) as usize;
        let mut k = 0;
        while k < WIDTH {
            rows[row][k] = values[packed >> (bits * k) & ((1 << bits) - 1)];
            k += 1;
        }
        row += 1;
    }
    rows
}
