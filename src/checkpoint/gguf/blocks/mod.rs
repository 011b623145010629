//! Block-quantized element types of GGUF files that candle does not decode.
//!
//! The layouts are those of ggml 0.25 (`ggml-common.h`, and `dequantize_row_*` in `ggml-quants.c`), and
//! for two types those of PrismML's fork. `d` is a block's scale, an f16. Every product of a code and
//! its scales has at most 24 significant bits, so that weights are exact in f32, whatever the order of
//! the multiplications.

mod floats;
mod grids;
mod nibbles;
mod signs;
mod small;
mod trits;

use pulp::Arch;

/// A block-quantized type, by its name in llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BlockType {
    Iq1S,
    Iq1M,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Nvfp4,
    Q1_0,
    Q2_0,
    /// PrismML's Q2_0 in blocks of 128 weights.
    Pq2_0,
    /// PrismML's TQ1_0 in blocks of 128 weights.
    Ptq1_0,
}

impl BlockType {
    /// All types.
    #[cfg(any(test, feature = "internals"))]
    pub const ALL: [BlockType; 17] = [
        BlockType::Iq1S,
        BlockType::Iq1M,
        BlockType::Iq2Xxs,
        BlockType::Iq2Xs,
        BlockType::Iq2S,
        BlockType::Iq3Xxs,
        BlockType::Iq3S,
        BlockType::Iq4Nl,
        BlockType::Iq4Xs,
        BlockType::Tq1_0,
        BlockType::Tq2_0,
        BlockType::Mxfp4,
        BlockType::Nvfp4,
        BlockType::Q1_0,
        BlockType::Q2_0,
        BlockType::Pq2_0,
        BlockType::Ptq1_0,
    ];

    /// The type's name, in small letters.
    pub fn name(self) -> &'static str {
        match self {
            BlockType::Iq1S => "iq1_s",
            BlockType::Iq1M => "iq1_m",
            BlockType::Iq2Xxs => "iq2_xxs",
            BlockType::Iq2Xs => "iq2_xs",
            BlockType::Iq2S => "iq2_s",
            BlockType::Iq3Xxs => "iq3_xxs",
            BlockType::Iq3S => "iq3_s",
            BlockType::Iq4Nl => "iq4_nl",
            BlockType::Iq4Xs => "iq4_xs",
            BlockType::Tq1_0 => "tq1_0",
            BlockType::Tq2_0 => "tq2_0",
            BlockType::Mxfp4 => "mxfp4",
            BlockType::Nvfp4 => "nvfp4",
            BlockType::Q1_0 => "q1_0",
            BlockType::Q2_0 => "q2_0",
            BlockType::Pq2_0 => "pq2_0",
            BlockType::Ptq1_0 => "ptq1_0",
        }
    }

    /// Weights and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            BlockType::Iq1S => (256, 50),
            BlockType::Iq1M => (256, 56),
            BlockType::Iq2Xxs | BlockType::Tq2_0 => (256, 66),
            BlockType::Iq2Xs => (256, 74),
            BlockType::Iq2S => (256, 82),
            BlockType::Iq3Xxs => (256, 98),
            BlockType::Iq3S => (256, 110),
            BlockType::Iq4Nl => (32, 18),
            BlockType::Iq4Xs => (256, 136),
            BlockType::Tq1_0 => (256, 54),
            BlockType::Mxfp4 => (32, 17),
            BlockType::Nvfp4 => (64, 36),
            BlockType::Q1_0 => (128, 18),
            BlockType::Q2_0 => (64, 18),
            BlockType::Pq2_0 => (128, 34),
            BlockType::Ptq1_0 => (128, 28),
        }
    }

    /// Decodes whole blocks. `bytes` and `out` have the same number of blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            BlockType::Iq1S => each(bytes, out, small::iq1_s),
            BlockType::Iq1M => each(bytes, out, small::iq1_m),
            BlockType::Iq2Xxs => each(bytes, out, signs::iq2_xxs),
            BlockType::Iq2Xs => each(bytes, out, signs::iq2_xs),
            BlockType::Iq2S => each(bytes, out, signs::iq2_s),
            BlockType::Iq3Xxs => each(bytes, out, signs::iq3_xxs),
            BlockType::Iq3S => each(bytes, out, signs::iq3_s),
            BlockType::Iq4Nl => each(bytes, out, nibbles::iq4_nl),
            BlockType::Iq4Xs => each(bytes, out, nibbles::iq4_xs),
            BlockType::Tq1_0 => each(bytes, out, trits::tq1_0),
            BlockType::Tq2_0 => each(bytes, out, trits::tq2_0),
            BlockType::Mxfp4 => each(bytes, out, nibbles::mxfp4),
            BlockType::Nvfp4 => each(bytes, out, nibbles::nvfp4),
            BlockType::Q1_0 => each(bytes, out, trits::q1_0),
            BlockType::Q2_0 => each(bytes, out, trits::q2_0::<18, 64>),
            BlockType::Pq2_0 => each(bytes, out, trits::q2_0::<34, 128>),
            BlockType::Ptq1_0 => each(bytes, out, trits::ptq1_0),
        }
    }
}

/// Decodes block by block, with the widest vectors of this processor.
fn each<const BYTES: usize, const WEIGHTS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; WEIGHTS]),
) {
    Arch::new().dispatch(|| {
        let (blocks, _) = bytes.as_chunks::<BYTES>();
        let (out, _) = out.as_chunks_mut::<WEIGHTS>();
        blocks.iter().zip(out).for_each(|(block, out)| decode(block, out));
    });
}

#[cfg(test)]
mod tests;
