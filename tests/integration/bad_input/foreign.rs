//! Weights that another tool wrote, pointers in place of files, two sets of weights in one folder, and a
//! head that contradicts the configuration.

use serde_json::{Value, json};

use crate::fixtures::edited::Edited;
use crate::fixtures::{Place, Tensor, Tiny, run, safetensors, text, tokenizer, told};

fn place() -> Place {
    Place::new(&Tiny::default(), 100)
}

/// Writes these tensors as the place's only weights.
fn write(place: &Place, tensors: &[Tensor]) {
    std::fs::write(place.path("model/model.safetensors"), safetensors(tensors)).unwrap();
}

/// What `evalkit perplexity` of this place says when it ends with `code`, and its records.
fn scored(place: &Place, more: &[&str], code: i32) -> (String, String) {
    let mut command = place.evalkit(&["perplexity", "--model", "model", "--text", "text.txt"]);
    let output = run(command.args(["--context", "16", "--limit", "2"]).args(more), code);
    let records = if code == 0 { place.records() } else { String::new() };
    (told(&output) + &String::from_utf8_lossy(&output.stdout), records)
}

/// The scores in these records, without the model they are of.
fn scores(records: &str) -> Vec<Value> {
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let windows: Vec<Value> = records.filter(|record| record["kind"] == "window").collect();
    assert!(!windows.is_empty());
    windows
}

/// The tiny model's tensors, and its embedding once more as the head, changed by `change`.
fn with_head(change: impl FnOnce(&mut Tensor)) -> Vec<Tensor> {
    let mut tensors = Tiny::default().tensors();
    let mut head = Tensor { name: "lm_head.weight".into(), ..tensors[0].clone() };
    change(&mut head);
    tensors.push(head);
    tensors
}

/// The upper halves of these f32 weights.
fn halved(tensor: &mut Tensor) {
    tensor.dtype = "BF16";
    tensor.bytes = tensor.bytes.chunks(4).flat_map(|four| [four[2], four[3]]).collect();
}

#[test]
fn a_stored_head_that_a_tied_configuration_would_hide_is_refused() {
    let place = place();
    write(&place, &with_head(|head| head.poke(64 * 7 + 3, 0.25)));
    place.refuses(
        place.sweep(&[]),
        2,
        "model: tensor lm_head.weight: config.json says that the head is tied to the embedding, but \
         the stored head has other weights, first in row 7\n\
         hint: to score the stored head, set \"tie_word_embeddings\": false in config.json; to score \
         the tied one, delete this tensor from the file",
    );
    write(&place, &with_head(|head| head.shape = vec![64, 40]));
    let (told, _) = scored(&place, &[], 2);
    assert!(told.contains("the stored head has shape [64, 40] instead of [40, 64]"), "{told}");
}

#[test]
fn a_stored_head_that_equals_the_embedding_is_left_out() {
    let (plain, same) = (place(), place());
    write(&same, &with_head(|_| ()));
    assert_eq!(scored(&plain, &[], 0).1, scored(&same, &[], 0).1);
    // Equal values in another type: the embedding in bf16, the head in f32 of the same values.
    let mut tensors = with_head(|head| {
        head.bytes.chunks_mut(4).for_each(|four| four[..2].fill(0));
    });
    halved(&mut tensors[0]);
    let other = place();
    write(&other, &tensors);
    scored(&other, &[], 0);
    halved(&mut tensors[0].clone());
    tensors.last_mut().unwrap().poke(5, 3.0);
    write(&other, &tensors);
    assert!(scored(&other, &[], 2).0.contains("first in row 0"));
}

#[test]
fn names_without_their_prefix_are_the_same_model() {
    let (plain, bare) = (place(), place());
    let mut tensors = Tiny::default().tensors();
    tensors.iter_mut().for_each(|tensor| {
        tensor.name = tensor.name.trim_start_matches("model.").to_owned();
    });
    write(&bare, &tensors);
    assert_eq!(scored(&plain, &[], 0).1, scored(&bare, &[], 0).1);
    // The tied matrix under the name of its other use.
    let mut tensors = Tiny::default().tensors();
    tensors[0].name = "lm_head.weight".into();
    let renamed = place();
    write(&renamed, &tensors);
    assert_eq!(scored(&plain, &[], 0).1, scored(&renamed, &[], 0).1);
}

#[test]
fn a_tensor_that_the_index_forgot_and_a_second_set_of_weights_are_refused() {
    let place = place();
    let first = "model-00001-of-00001.safetensors";
    let names: serde_json::Map<String, Value> = Tiny::default()
        .tensors()
        .into_iter()
        .filter(|tensor| tensor.name != "model.norm.weight")
        .map(|tensor| (tensor.name, json!(first)))
        .collect();
    std::fs::copy(place.path("model/model.safetensors"), place.model().join(first)).unwrap();
    let index = json!({"weight_map": names}).to_string();
    std::fs::write(place.path("model/model.safetensors.index.json"), index).unwrap();
    let (told, _) = scored(&place, &[], 2);
    assert!(told.contains("model.safetensors and model-00001-of-00001.safetensors"), "{told}");
    std::fs::remove_file(place.path("model/model.safetensors")).unwrap();
    let (told, _) = scored(&place, &[], 2);
    let expected =
        "tensor model.norm.weight: it is in model-00001-of-00001.safetensors, but not in";
    assert!(told.contains(expected), "{told}");
    // Without the index the shard is complete.
    std::fs::remove_file(place.path("model/model.safetensors.index.json")).unwrap();
    scored(&place, &[], 0);
}

#[test]
fn a_git_lfs_pointer_in_place_of_any_file_is_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 71424\n";
    let files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    for file in files.map(|name| format!("model/{name}")).iter().chain(["text.txt".into()].iter()) {
        let place = place();
        std::fs::write(place.path(file), pointer).unwrap();
        place.refuses(
            place.sweep(&[]),
            2,
            &format!(
                "{file}: it is a Git LFS pointer, not the file of 71424 bytes itself\n\
                 hint: run git lfs pull in the folder that was cloned, or download the file again"
            ),
        );
    }
}

#[test]
fn checkpoints_of_other_tools_are_named() {
    let told_of = |name: &str, dtype: &'static str| {
        let place = place();
        let mut tensors = Tiny::default().tensors();
        let up = tensors.iter_mut().find(|tensor| tensor.name.ends_with("1.mlp.up_proj.weight"));
        let up = up.unwrap();
        (up.name, up.dtype) = (up.name.replace("up_proj.weight", name), dtype);
        write(&place, &tensors);
        scored(&place, &[], 2).0
    };
    let told = told_of("up_proj.qweight", "I32");
    assert!(told.contains("those of GPTQ or AWQ, which evalkit does not read"), "{told}");
    let told = told_of("up_proj.base_layer.weight", "F32");
    assert!(told.contains("merge the adapter (merge_and_unload of peft"), "{told}");
    let place = place();
    let from = place.path("model/model.safetensors");
    std::fs::rename(from, place.path("model/consolidated.safetensors")).unwrap();
    let (told, _) = scored(&place, &[], 2);
    assert!(told.contains("it has consolidated.safetensors, weights in Mistral's own"), "{told}");
}

#[test]
fn a_byte_order_mark_is_not_scored_and_said() {
    let (plain, marked) = (place(), place());
    std::fs::write(marked.path("text.txt"), format!("\u{feff}{}", text(100))).unwrap();
    let (told, records) = scored(&marked, &[], 0);
    assert_eq!(scores(&records), scores(&scored(&plain, &[], 0).1));
    assert!(told.contains("warning: text.txt begins with a byte-order mark"), "{told}");
    assert!(records.contains("begins with a byte-order mark"), "{records}");
}

#[test]
fn a_tokenizer_that_multiplies_a_text_is_refused() {
    let place = place();
    let step = json!({"type": "Replace", "pattern": {"String": "e"}, "content": "ee"});
    let mut hostile = tokenizer();
    hostile["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 40]});
    std::fs::write(place.path("model/tokenizer.json"), hostile.to_string()).unwrap();
    let (told, _) = scored(&place, &[], 2);
    assert!(told.contains("its 40 steps before splitting could make a text"), "{told}");
    let mut padded = tokenizer();
    padded["padding"] = json!({"strategy": {"Fixed": 1_u64 << 40}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"});
    std::fs::write(place.path("model/tokenizer.json"), padded.to_string()).unwrap();
    scored(&place, &[], 0);
}

#[test]
fn a_reference_that_is_itself_quantized_is_called_so() {
    let place = place();
    let mixture = Edited::of("gpt-oss-mxfp4-4");
    mixture.write(&place.model());
    let (told, records) = scored(&place, &[], 0);
    assert!(told.contains("reference (stored as mxfp4)"), "{told}");
    assert!(told.contains("the reference is itself quantized (stored as mxfp4)"), "{told}");
    assert!(records.contains("\"stored_as\":\"mxfp4\""), "{records}");
}
