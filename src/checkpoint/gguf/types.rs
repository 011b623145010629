//! The element types of GGUF files, by their numbers in `enum ggml_type`.

use candle_core::quantized::GgmlDType;

use super::blocks::BlockType;
use crate::checkpoint::dtype::Dtype;
use crate::error::{Error, Result};

/// Types that are not read: their numbers, and their names in llama.cpp. bitnet.cpp gives three numbers
/// to types of its own.
const NOT_READ: [(u32, &str); 11] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (36, "IQ4_NL_4_4, or I2_S of bitnet.cpp,"),
    (37, "IQ4_NL_4_8, or I8_S of bitnet.cpp,"),
    (38, "IQ4_NL_8_8, or TL1 of bitnet.cpp,"),
];

/// Types that llama.cpp wrote for a while and reads no more.
const REPACKED: [(u32, &str); 3] = [(31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8")];

/// The number of PQ2_0, a type of PrismML's fork.
pub(super) const PQ2_0: u32 = 142;

/// The element type with this number.
///
/// # Errors
/// An input error that names the type.
pub(super) fn dtype(id: u32) -> Result<Dtype> {
    Ok(match id {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::Ggml(GgmlDType::Q4_0),
        3 => Dtype::Ggml(GgmlDType::Q4_1),
        6 => Dtype::Ggml(GgmlDType::Q5_0),
        7 => Dtype::Ggml(GgmlDType::Q5_1),
        8 => Dtype::Ggml(GgmlDType::Q8_0),
        10 => Dtype::Ggml(GgmlDType::Q2K),
        11 => Dtype::Ggml(GgmlDType::Q3K),
        12 => Dtype::Ggml(GgmlDType::Q4K),
        13 => Dtype::Ggml(GgmlDType::Q5K),
        14 => Dtype::Ggml(GgmlDType::Q6K),
        15 => Dtype::Ggml(GgmlDType::Q8K),
        16 => Dtype::Block(BlockType::Iq2Xxs),
        17 => Dtype::Block(BlockType::Iq2Xs),
        18 => Dtype::Block(BlockType::Iq3Xxs),
        19 => Dtype::Block(BlockType::Iq1S),
        20 => Dtype::Block(BlockType::Iq4Nl),
        21 => Dtype::Block(BlockType::Iq3S),
        22 => Dtype::Block(BlockType::Iq2S),
        23 => Dtype::Block(BlockType::Iq4Xs),
        29 => Dtype::Block(BlockType::Iq1M),
        30 => Dtype::BF16,
        34 => Dtype::Block(BlockType::Tq1_0),
        35 => Dtype::Block(BlockType::Tq2_0),
        39 => Dtype::Block(BlockType::Mxfp4),
        40 => Dtype::Block(BlockType::Nvfp4),
        41 => Dtype::Block(BlockType::Q1_0),
        42 => Dtype::Block(BlockType::Q2_0),
        PQ2_0 => Dtype::Block(BlockType::Pq2_0),
        143 => Dtype::Block(BlockType::Ptq1_0),
        other => return Err(not_read(other)),
    })
}

fn not_read(id: u32) -> Error {
    const READ: &str =
        "f32, f16, bf16, q8_0, q6_k or another of llama.cpp's types from q1_0 to q8_k";
    let name = |types: &[(u32, &'static str)]| {
        types.iter().find(|(number, _)| *number == id).map(|(_, name)| *name)
    };
    let found = match name(&NOT_READ).or_else(|| name(&REPACKED)) {
        Some(name) => format!("the element type {name} (ggml type {id}) is not read"),
        None => format!("expected a known element type, found ggml type {id}"),
    };
    let hint = if name(&REPACKED).is_some() {
        "llama.cpp no longer uses this type: take the model in Q4_0".to_owned()
    } else {
        format!("take the model in {READ}, or convert it with llama-quantize")
    };
    Error::input(found).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_ggml_is_read_or_refused_by_its_name() {
        for id in (0..=42).chain([142, 143]) {
            match dtype(id) {
                Ok(_) => assert!(NOT_READ.iter().chain(&REPACKED).all(|(other, _)| *other != id)),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(&format!("(ggml type {id}) is not read")), "{text}");
                }
            }
        }
        let text = dtype(36).unwrap_err().to_string();
        assert!(text.contains("I2_S of bitnet.cpp") && text.contains("llama-quantize"), "{text}");
        assert!(dtype(32).unwrap_err().to_string().contains("take the model in Q4_0"));
        assert!(dtype(99).unwrap_err().to_string().contains("found ggml type 99"));
    }
}
