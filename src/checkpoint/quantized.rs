//! Checkpoints that other tools have quantized, in formats that evalkit does not read. The method is
//! named, from the configuration or from a tensor's name, with the way to weights that can be read.

use std::path::Path;

use serde_json::{Map, Value};

use super::json;
use crate::error::{Error, Result};
use crate::files::read_regular;

/// Keys of a configuration that describe a quantization.
const KEYS: [&str; 4] =
    ["quantization_config", "compression_config", "quantization", "quantize_config"];
/// Files beside a configuration that describe a quantization: those of AutoGPTQ, AutoAWQ and ModelOpt.
const FILES: [&str; 3] = ["quantize_config.json", "quant_config.json", "hf_quant_config.json"];
/// Most bytes of such a file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The method whose tensors are read, for gpt-oss.
pub const MXFP4: &str = "mxfp4";

const ORIGINAL: &str = "give the checkpoint that was quantized: evalkit quantizes it itself, and reads f32, f16 and bf16";

/// A method as `quant_method` spells it, its name, and how to get weights that can be read if there is a
/// better way than the original checkpoint.
const METHODS: [(&str, &str, Option<&str>); 28] = [
    ("gptq", "GPTQ", None),
    ("awq", "AWQ", None),
    (
        "bitsandbytes",
        "bitsandbytes",
        Some(
            "give the original checkpoint, or dequantize it: model.dequantize() in transformers, then save_pretrained",
        ),
    ),
    (
        "mlx",
        "MLX",
        Some("give the original checkpoint, or dequantize it: mlx_lm.convert --dequantize"),
    ),
    (
        "compressed-tensors",
        "compressed-tensors",
        Some(
            "give the original checkpoint, or load it with CompressedTensorsConfig(run_compressed=False) in transformers and store it with save_pretrained",
        ),
    ),
    (
        "fp8",
        "FP8",
        Some(
            "give a bf16 checkpoint, or load it with FineGrainedFP8Config(dequantize=True) in transformers and store it with save_pretrained",
        ),
    ),
    ("fbgemm_fp8", "FBGEMM FP8", None),
    ("finegrained_fp8", "FP8", None),
    ("aqlm", "AQLM", None),
    ("hqq", "HQQ", None),
    ("eetq", "EETQ", None),
    ("quark", "Quark", None),
    ("torchao", "torchao", None),
    ("quanto", "Quanto", None),
    ("higgs", "HIGGS", None),
    ("vptq", "VPTQ", None),
    ("spqr", "SpQR", None),
    ("auto-round", "AutoRound", None),
    ("intel/auto-round", "AutoRound", None),
    ("exl2", "ExLlamaV2", None),
    ("exl3", "ExLlamaV3", None),
    ("modelopt", "ModelOpt", None),
    ("bitnet", "BitNet", None),
    ("fp_quant", "FP-Quant", None),
    ("quip", "QuIP#", None),
    ("marlin", "Marlin", None),
    ("sinq", "SINQ", None),
    (
        MXFP4,
        "MXFP4",
        Some(
            "MXFP4 is read for gpt_oss only; load it with Mxfp4Config(dequantize=True) in transformers and store it with save_pretrained",
        ),
    ),
];

/// Ends of tensors' names, and the methods that write them.
const TENSORS: [(&str, &str); 15] = [
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".g_idx", "GPTQ"),
    (".weight_packed", "compressed-tensors"),
    (".weight_scale_inv", "FP8"),
    (".weight_scale", "FP8, INT8 or compressed-tensors"),
    (".input_scale", "FP8"),
    (".weight_scales", "EETQ"),
    (".weight.absmax", "bitsandbytes"),
    (".weight.quant_map", "bitsandbytes"),
    (".weight_format", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".codebooks", "AQLM"),
    (".W_q", "HQQ"),
    (".weight._data", "Quanto"),
];

/// Fails (input) if the configuration says that the weights are quantized in a way that is not read.
/// `reads_mxfp4` says whether MXFP4 is.
pub fn refuse_config(config: &Map<String, Value>, reads_mxfp4: bool) -> Result<()> {
    for key in KEYS {
        let Some(about) = config.get(key).and_then(Value::as_object) else { continue };
        if about.is_empty() {
            continue;
        }
        if reads_mxfp4 && method(key, about).as_deref() == Some(MXFP4) {
            continue;
        }
        return Err(refusal(key, about, &format!("key `{key}`")));
    }
    Ok(())
}

/// The error of opening a folder. If a file beside the configuration says that the weights are quantized,
/// the method is named, and the error becomes the cause.
pub fn explain(folder: &Path, error: Error) -> Error {
    let told = FILES.iter().find_map(|name| {
        let path = folder.join(name);
        let bytes = path.exists().then(|| read_regular("read", &path, MAX_FILE_BYTES))?.ok()?;
        let map: Map<String, Value> = json::parse(&bytes, "").ok()?;
        let about = map.get("quantization").and_then(Value::as_object).unwrap_or(&map);
        Some(refusal(name, about, &path.display().to_string()))
    });
    match told {
        Some(told) if error.is_of_input() => told.because(error.cause()),
        _ => error,
    }
}

/// The error for weights that are quantized as `about` says, which is found under this key or name.
fn refusal(key: &str, about: &Map<String, Value>, place: &str) -> Error {
    let spelled = method(key, about);
    let known = spelled
        .as_deref()
        .and_then(|spelled| METHODS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(spelled)));
    let name = match (known, &spelled) {
        (Some((_, name, _)), _) => (*name).to_owned(),
        (None, Some(spelled)) => format!("{spelled:.40}"),
        (None, None) => "a method that it does not name".to_owned(),
    };
    let way = known.and_then(|&(_, _, way)| way).unwrap_or(ORIGINAL);
    let source = about.get("quant_method").and_then(Value::as_str);
    let source = source.map_or(String::new(), |name| format!(" (quant_method {name:.40})"));
    Error::input(format!(
        "{place}: the weights are quantized by {name}{}{source}, which evalkit does not read",
        details(about)
    ))
    .hint(way)
}

/// The method as the configuration spells it.
fn method(key: &str, about: &Map<String, Value>) -> Option<String> {
    for name in ["quant_method", "quant_algo", "quantization_method", "quant_type"] {
        if let Some(method) = about.get(name).and_then(Value::as_str) {
            return Some(method.trim_start_matches("QuantizationMethod.").to_ascii_lowercase());
        }
    }
    let is_set = |name: &str| about.get(name).and_then(Value::as_bool) == Some(true);
    if ["load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit"].into_iter().any(is_set) {
        return Some("bitsandbytes".into());
    }
    let has = |name: &str| about.contains_key(name);
    // AutoGPTQ and AutoAWQ write no name.
    if key.starts_with("quantize_config") || has("desc_act") {
        return Some("gptq".into());
    }
    if has("w_bit") || has("q_group_size") {
        return Some("awq".into());
    }
    // MLX writes its two numbers under both keys, and no name.
    (has("bits") && has("group_size") || key == "quantization").then(|| "mlx".into())
}

/// Bits and group size, as far as the configuration says them.
fn details(about: &Map<String, Value>) -> String {
    let number = |name: &str| about.get(name).and_then(Value::as_u64);
    match (number("bits").or(number("w_bit")), number("group_size").or(number("q_group_size"))) {
        (Some(bits), Some(group)) => format!(" to {bits} bits in groups of {group}"),
        (Some(bits), None) => format!(" to {bits} bits"),
        _ => String::new(),
    }
}

/// A hint about a tensor with this name, if a quantization method of other tools writes it.
pub fn hint_of_tensor(name: &str) -> Option<String> {
    let (end, method) = TENSORS.iter().find(|(end, _)| name.ends_with(end))?;
    Some(format!(
        "tensors that end in {end} are those of {method}, which evalkit does not read: {ORIGINAL}"
    ))
}

/// A hint about a tensor of this type, if only quantized weights have it.
pub fn hint_of_type(dtype: &str) -> Option<String> {
    let what = match dtype {
        "U32" => "integers that MLX packs codes into",
        "I8" => "8-bit integers, whose scales are stored separately",
        _ if dtype.starts_with("F8") => "8-bit floats, whose scales are stored separately",
        _ => return None,
    };
    Some(format!("{dtype} are {what}, which evalkit does not read: {ORIGINAL}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(config: &Value) -> String {
        refuse_config(config.as_object().unwrap(), true).unwrap_err().to_string()
    }

    #[test]
    fn methods_are_named_with_what_to_do() {
        let of = |about: Value| told(&json!({ "quantization_config": about }));
        for (method, name) in [("gptq", "GPTQ"), ("awq", "AWQ"), ("fp8", "FP8"), ("aqlm", "AQLM")] {
            let text = of(json!({"quant_method": method, "bits": 4, "group_size": 128}));
            let expected = format!("quantized by {name} to 4 bits in groups of 128");
            assert!(text.contains(&expected), "{text}");
            assert!(text.contains("hint: give "), "{text}");
        }
        assert!(of(json!({"load_in_4bit": true})).contains("by bitsandbytes"));
        assert!(of(json!({"bits": 4, "group_size": 64})).contains("by MLX"));
        assert!(of(json!({"quant_method": "next"})).contains("by next"));
        assert!(of(json!({"what": 1})).contains("a method that it does not name"));
        assert!(of(json!({"w_bit": 4, "q_group_size": 128})).contains("by AWQ to 4 bits"));
        let about = json!({"bits": 4, "group_size": 128, "desc_act": false});
        assert!(of(about.clone()).contains("by GPTQ"));
        let auto_gptq = told(&json!({ "quantize_config": about }));
        assert!(auto_gptq.contains("key `quantize_config`: "), "{auto_gptq}");
        assert!(auto_gptq.contains("by GPTQ to 4 bits in groups of 128"), "{auto_gptq}");
        let mlx = told(&json!({"quantization": {"bits": 4, "group_size": 64}}));
        assert!(mlx.contains("key `quantization`") && mlx.contains("--dequantize"), "{mlx}");
    }

    #[test]
    fn a_file_beside_the_configuration_names_the_method() {
        let folder = tempfile::tempdir().unwrap();
        let told = || explain(folder.path(), Error::input("no such tensor")).to_string();
        assert_eq!(told(), "no such tensor");
        for (name, text, method) in [
            ("hf_quant_config.json", r#"{"quantization": {"quant_algo": "FP8"}}"#, "FP8"),
            ("quant_config.json", r#"{"w_bit": 4, "q_group_size": 128}"#, "AWQ to 4 bits"),
            ("quantize_config.json", r#"{"bits": 4, "group_size": 128}"#, "GPTQ to 4 bits"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
            let told = told();
            let expected = format!("{name}: the weights are quantized by {method}");
            assert!(told.contains(&expected) && told.contains("no such tensor"), "{told}");
        }
        let bug = explain(folder.path(), Error::bug("a fault"));
        assert!(bug.to_string().starts_with("a fault"), "only errors of the input are explained");
    }

    #[test]
    fn mxfp4_is_read_for_one_family_and_nothing_is_not_a_quantization() {
        let config = json!({"quantization_config": {"quant_method": "mxfp4"}});
        refuse_config(config.as_object().unwrap(), true).unwrap();
        let error = refuse_config(config.as_object().unwrap(), false).unwrap_err().to_string();
        assert!(error.contains("by MXFP4") && error.contains("for gpt_oss only"), "{error}");
        for none in [json!({}), json!({"quantization_config": null}), json!({"quantization": {}})] {
            refuse_config(none.as_object().unwrap(), false).unwrap();
        }
    }

    #[test]
    fn tensors_of_quantized_layers_are_recognized() {
        let hint = hint_of_tensor("model.layers.0.mlp.up_proj.qweight").unwrap();
        assert!(hint.contains("GPTQ or AWQ"), "{hint}");
        assert_eq!(hint_of_tensor("model.layers.0.mlp.up_proj.weight"), None);
        assert!(hint_of_type("F8_E4M3").is_some() && hint_of_type("I32").is_none());
    }
}
