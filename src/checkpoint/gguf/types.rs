//! The element types of GGUF files, by their numbers in `enum ggml_type`.

use candle_core::quantized::GgmlDType;

use crate::checkpoint::dtype::Dtype;
use crate::error::{Error, Result};

/// Types that are not read: their numbers, and their names in llama.cpp.
const NOT_READ: [(u32, &str); 25] = [
    (9, "Q8_1"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (4, "Q4_2"),
    (5, "Q4_3"),
];

/// Types that llama.cpp wrote for a while and reads no more.
const REPACKED: [(u32, &str); 3] = [(31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8")];

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
        30 => Dtype::BF16,
        other => return Err(not_read(other)),
    })
}

fn not_read(id: u32) -> Error {
    const READ: &str = "f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k to q6_k or q8_k";
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
        for id in 0..=41 {
            match dtype(id) {
                Ok(_) => assert!(NOT_READ.iter().chain(&REPACKED).all(|(other, _)| *other != id)),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(&format!("(ggml type {id}) is not read")), "{text}");
                }
            }
        }
        let text = dtype(20).unwrap_err().to_string();
        assert!(text.contains("IQ4_NL") && text.contains("llama-quantize"), "{text}");
        assert!(dtype(32).unwrap_err().to_string().contains("take the model in Q4_0"));
        assert!(dtype(99).unwrap_err().to_string().contains("found ggml type 99"));
    }
}
