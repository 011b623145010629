//! Weights that are damaged, lie about themselves, or belong to another model.

use serde_json::{Value, json};

use crate::fixtures::{Place, Tensor, Tiny, run, safetensors, told, with_header, write_checkpoint};

const DAMAGED: &str = "hint: the file is truncated or damaged: download it again";
const MIXED: &str =
    "hint: config.json and the weights do not belong together, or a shard is missing";

fn place() -> Place {
    Place::new(&Tiny::default(), 100)
}

/// Refuses the tiny model with `bytes` as its weights.
fn refuses_file(bytes: &[u8], error: &str) {
    let place = place();
    std::fs::write(place.path("model/model.safetensors"), bytes).unwrap();
    place.refuses(place.sweep(&[]), 2, error);
}

/// Refuses the tiny model after `change` to its tensors.
fn refuses_tensors(change: impl FnOnce(&mut Vec<Tensor>), error: &str) {
    let mut tensors = Tiny::default().tensors();
    change(&mut tensors);
    refuses_file(&safetensors(&tensors), error);
}

/// Refuses the tiny model after `change` to the header of its weights.
fn refuses_header(change: impl FnOnce(&mut Value), error: &str) {
    let whole = safetensors(&Tiny::default().tensors());
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    change(&mut header);
    refuses_file(&with_header(&header, &whole[8 + length..]), error);
}

fn named<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
}

#[test]
fn a_truncated_file_is_refused_with_the_first_tensor_that_is_cut() {
    let whole = safetensors(&Tiny::default().tensors());
    refuses_file(
        &whole[..whole.len() - 300],
        &format!(
            "model/model.safetensors: tensor model.layers.1.mlp.down_proj.weight: expected its \
             bytes to end at 257024, found only 256980 bytes of data: incomplete metadata, file \
             not fully covered\n{DAMAGED}"
        ),
    );
}

#[test]
fn a_file_cut_inside_its_header_is_refused() {
    let whole = safetensors(&Tiny::default().tensors());
    let error = "model/model.safetensors: not a valid safetensors file: invalid header length";
    refuses_file(&whole[..500], &format!("{error}\n{DAMAGED}"));
    let error = "model/model.safetensors: not a valid safetensors file: header too small";
    refuses_file(&[], &format!("{error}\n{DAMAGED}"));
}

#[test]
fn a_header_longer_than_any_file_is_refused() {
    for length in [u64::MAX, 1 << 62, 1 << 27] {
        let bytes = [&length.to_le_bytes(), [b'{'; 64].as_slice()].concat();
        let error = "model/model.safetensors: not a valid safetensors file: header too large";
        refuses_file(&bytes, &format!("{error}\n{DAMAGED}"));
    }
}

#[test]
fn offsets_past_the_end_are_refused() {
    refuses_header(
        |header| header["model.norm.weight"]["data_offsets"][1] = json!(1u64 << 40),
        &format!(
            "model/model.safetensors: tensor model.norm.weight: expected its bytes to end at \
             1099511627776, found only 257280 bytes of data: invalid shape, data type, or offset \
             for tensor\n{DAMAGED}"
        ),
    );
}

#[test]
fn overlapping_tensors_are_refused() {
    refuses_header(
        |header| {
            header["model.layers.0.self_attn.k_proj.weight"]["data_offsets"] =
                json!([10496, 18688]);
        },
        &format!(
            "model/model.safetensors: tensor model.layers.0.self_attn.q_proj.weight: expected its \
             bytes to start at 18688, found 10496: invalid offset for tensor \
             `model.layers.0.self_attn.q_proj.weight`\n{DAMAGED}"
        ),
    );
}

#[test]
fn a_hole_between_tensors_is_refused() {
    refuses_header(
        |header| {
            header.as_object_mut().unwrap().remove("model.layers.0.self_attn.k_proj.weight");
        },
        &format!(
            "model/model.safetensors: tensor model.layers.0.self_attn.v_proj.weight: expected its \
             bytes to start at 26880, found 35072: invalid offset for tensor \
             `model.layers.0.self_attn.v_proj.weight`\n{DAMAGED}"
        ),
    );
}

#[test]
fn a_shape_that_overflows_is_refused() {
    refuses_header(
        |header| header["model.norm.weight"]["shape"] = json!([1u64 << 33, 1u64 << 33]),
        &format!(
            "model/model.safetensors: tensor model.norm.weight: F32 [8589934592, 8589934592] does \
             not fit the 256 bytes given for it: overflow computing buffer size from shape and/or \
             element type\n{DAMAGED}"
        ),
    );
}

#[test]
fn a_shape_other_than_the_configuration_demands_is_refused() {
    refuses_tensors(
        |tensors| named(tensors, "model.layers.1.mlp.up_proj.weight").shape = vec![64, 96],
        "model: tensor model.layers.1.mlp.up_proj.weight: expected shape [96, 64], found [64, 96]",
    );
}

#[test]
fn a_type_that_is_no_weight_is_refused() {
    refuses_tensors(
        |tensors| named(tensors, "model.norm.weight").dtype = "I32",
        "model/model.safetensors: tensor model.norm.weight: expected f32, f16 or bf16, found I32",
    );
}

#[test]
fn a_type_that_nobody_knows_is_refused_by_tensor() {
    refuses_tensors(
        |tensors| named(tensors, "model.norm.weight").dtype = "Q7",
        "model/model.safetensors: tensor model.norm.weight: expected f32, f16 or bf16, found Q7",
    );
}

#[test]
fn a_missing_tensor_is_refused() {
    refuses_tensors(
        |tensors| tensors.retain(|t| t.name != "model.layers.1.mlp.up_proj.weight"),
        &format!(
            "model: tensor model.layers.1.mlp.up_proj.weight: expected by the architecture, not \
             found in the checkpoint\n{MIXED}"
        ),
    );
}

#[test]
fn a_tensor_too_many_is_refused() {
    refuses_tensors(
        |tensors| {
            let name = "model.layers.1.mlp.gate.weight".into();
            tensors.push(Tensor { name, ..tensors[1].clone() });
        },
        "model: tensor model.layers.1.mlp.gate.weight: found in the checkpoint, not expected by \
         the architecture\nhint: this model has a part that evalkit does not compute",
    );
}

#[test]
fn an_index_that_names_a_missing_shard_is_refused() {
    let place = sharded(json!({"model.norm.weight": "model-00002-of-00002.safetensors"}));
    place.refuses(
        place.sweep(&[]),
        2,
        "model/model.safetensors.index.json: 1 of 2 shards are missing: \
         model-00002-of-00002.safetensors\nhint: download the missing files into the same folder",
    );
}

#[test]
fn an_index_that_names_a_tensor_its_shard_lacks_is_refused() {
    let place = sharded(json!({"model.extra.weight": "model-00001-of-00002.safetensors"}));
    place.refuses(
        place.sweep(&[]),
        2,
        "model/model.safetensors.index.json: tensor model.extra.weight: the index places it in \
         model-00001-of-00002.safetensors, which does not contain it",
    );
}

#[test]
fn an_index_that_leads_out_of_its_folder_is_refused() {
    for shard in ["../model-00001-of-00002.safetensors", "/etc/passwd", "..", "a/b", "", "a\\b"] {
        let place = sharded(json!({"model.norm.weight": shard}));
        let error = format!(
            "model/model.safetensors.index.json: tensor model.norm.weight: expected a file name, \
             found {shard:?}\nhint: shards must be in the same folder as their index"
        );
        place.refuses(place.sweep(&[]), 2, &error);
    }
}

/// The tiny model in one shard, with an index that says `more`.
fn sharded(more: Value) -> Place {
    let (place, shard) = (place(), "model-00001-of-00002.safetensors");
    std::fs::rename(place.path("model/model.safetensors"), place.model().join(shard)).unwrap();
    let names = Tiny::default().tensors().into_iter().map(|t| (t.name, json!(shard)));
    let mut map: serde_json::Map<String, Value> = names.collect();
    map.extend(more.as_object().unwrap().clone());
    let index = json!({"metadata": {}, "weight_map": map});
    std::fs::write(place.path("model/model.safetensors.index.json"), index.to_string()).unwrap();
    place
}

/// Sweeps a model with these weights overwritten; the walk begins, so a run's folder is left.
fn not_finite(name: &str, pokes: &[(usize, f32)]) -> (Place, String) {
    let place = place();
    let mut tensors = Tiny::default().tensors();
    pokes.iter().for_each(|&(at, value)| named(&mut tensors, name).poke(at, value));
    write_checkpoint(&place.model(), &Tiny::default().config(), &tensors);
    let output = run(&mut place.sweep(&["-q", "--bits", "4"]), 2);
    assert!(output.stdout.is_empty());
    (place, told(&output))
}

#[test]
fn weights_that_are_not_finite_are_named_and_counted_and_the_session_says_so() {
    let name = "model.layers.1.mlp.down_proj.weight";
    let pokes = [(100, f32::NAN), (101, f32::INFINITY), (102, f32::NEG_INFINITY)];
    let (place, told) = not_finite(name, &pokes);
    let cause = format!(
        "model/model.safetensors: tensor {name}: 3 of 6144 weights are not finite (1 NaN, 2 \
         infinite), the first in row 1, column 4"
    );
    let hint = "hint: the checkpoint is damaged, or its training diverged; it cannot be scored";
    assert_eq!(told, format!("error: {cause}\n{hint}\n"));
    let folder = place.run_folder();
    let sessions = std::fs::read_to_string(folder.join("sessions.jsonl")).unwrap();
    let session: Value = serde_json::from_str(sessions.lines().next().unwrap()).unwrap();
    assert_eq!(session["outcome"], json!(cause));
    let kinds: Vec<Value> = place
        .records()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds, ["run", "environment", "cell", "cell"]);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["plan.toml", "records.jsonl", "sessions.jsonl"]);
}

#[test]
fn an_embedding_that_is_not_finite_is_named() {
    let name = "model.embed_tokens.weight";
    let (_, told) = not_finite(name, &[(5, f32::NAN)]);
    let expected = format!("tensor {name}: 1 of 2560 weights are not finite (1 NaN, 0 infinite)");
    assert!(told.contains(&expected), "{told}");
}
