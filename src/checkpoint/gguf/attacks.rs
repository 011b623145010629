//! Hostile and damaged GGUF files: one test per attack, with the message that refuses it.

use super::build::{GgufFile, Meta};
use super::read_bytes;
use crate::error::Exit;

/// The message of a file that must be refused as bad input.
fn refusal(bytes: &[u8]) -> String {
    let error = read_bytes(bytes).expect_err("the file is refused");
    assert_eq!(error.exit(), Exit::Input);
    error.to_string()
}

fn assert_refused(file: &GgufFile, expected: &str) {
    let found = refusal(&file.bytes());
    assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
}

/// A file with one change.
fn changed(change: impl FnOnce(&mut GgufFile)) -> GgufFile {
    let mut file = GgufFile::llama();
    change(&mut file);
    file
}

#[test]
fn every_truncation_of_a_valid_file_is_refused() {
    let bytes = GgufFile::llama().bytes();
    for len in 0..bytes.len() {
        refusal(&bytes[..len]);
    }
}

#[test]
fn a_truncated_header_names_the_byte_where_it_ends() {
    let bytes = GgufFile::llama().bytes();
    let found = refusal(&bytes[..20]);
    assert!(found.contains("expected 8 bytes for the number of metadata keys at byte 16, found 4"));
}

#[test]
fn a_wrong_magic_number_is_shown() {
    let file = changed(|f| f.magic = *b"<htm");
    assert_refused(&file, "which begins with \"GGUF\", found \"<htm\"");
}

#[test]
fn an_unknown_version_is_named() {
    assert_refused(&changed(|f| f.version = 99), "expected GGUF version 2 or 3, found 99");
    assert_refused(&changed(|f| f.version = 1), "expected GGUF version 2 or 3, found 1");
}

#[test]
fn a_big_endian_file_is_recognized() {
    assert_refused(&changed(|f| f.version = 3u32.swap_bytes()), "found a big-endian one");
}

#[test]
fn a_huge_tensor_count_is_compared_with_the_file() {
    let file = changed(|f| f.tensor_count = Some(u64::MAX));
    assert_refused(&file, "table of tensors: 18446744073709551615 tensors do not fit");
}

#[test]
fn a_huge_key_count_is_compared_with_the_file() {
    let file = changed(|f| f.key_count = Some(1 << 60));
    assert_refused(&file, "metadata: 1152921504606846976 keys do not fit");
}

#[test]
fn a_huge_string_is_compared_with_the_file() {
    let raw = Meta::Raw(8, (u64::MAX - 3).to_le_bytes().to_vec());
    let file = changed(|f| f.set("general.name", raw));
    assert_refused(&file, "key general.name: 18446744073709551612 bytes of text do not fit");
}

#[test]
fn a_huge_array_is_refused_before_it_is_allocated() {
    let array = |len: u64| [&6u32.to_le_bytes()[..], &len.to_le_bytes()].concat();
    let file = changed(|f| f.set("a", Meta::Raw(9, array(u64::MAX))));
    assert_refused(&file, "key a: expected an array of at most 4194304 elements");
    let file = changed(|f| f.set("a", Meta::Raw(9, array(4_000_000))));
    assert_refused(&file, "key a: 4000000 array elements do not fit");
}

#[test]
fn nested_arrays_are_refused() {
    let nested = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
    let file = changed(|f| f.set("a", Meta::Raw(9, nested)));
    assert_refused(&file, "key a: expected an array of plain values, found nested arrays");
}

#[test]
fn an_unknown_value_type_is_refused() {
    let file = changed(|f| f.set("a", Meta::Raw(13, vec![0; 8])));
    assert_refused(&file, "key a: expected a value type from 0 to 12, found 13");
}

#[test]
fn a_boolean_of_two_is_refused() {
    let file = changed(|f| f.set("a", Meta::Raw(7, vec![2])));
    assert_refused(&file, "key a: expected a boolean, 0 or 1, found 2");
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let raw = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
    let file = changed(|f| f.set("general.name", Meta::Raw(8, raw)));
    assert_refused(&file, "key general.name: expected UTF-8 text");
}

#[test]
fn a_repeated_key_is_refused() {
    let file = changed(|f| f.metadata.push(("llama.block_count".into(), Meta::U32(2))));
    assert_refused(&file, "key llama.block_count: the key appears twice");
}

#[test]
fn a_repeated_tensor_is_refused() {
    let file = changed(|f| f.float("output_norm.weight", &[8]));
    assert_refused(&file, "tensor output_norm.weight: the name appears twice");
}

#[test]
fn an_offset_past_the_end_is_refused() {
    let file = changed(|f| f.tensor("output_norm.weight").offset = Some(1 << 40));
    assert_refused(&file, "tensor output_norm.weight: expected 32 bytes at offset 1099511627776");
    let file = changed(|f| f.tensor("output_norm.weight").offset = Some(u64::MAX - 31));
    assert_refused(&file, "tensor output_norm.weight: expected 32 bytes at offset");
}

#[test]
fn overlapping_tensors_are_refused() {
    let file = changed(|f| f.tensor("output_norm.weight").offset = Some(64));
    assert_refused(&file, "tensors token_embd.weight (bytes ");
    assert_refused(&file, "overlap");
}

#[test]
fn a_misaligned_offset_is_refused() {
    let file = changed(|f| f.tensor("output_norm.weight").offset = Some(100));
    assert_refused(&file, "expected an offset divisible by 32, found 100");
}

#[test]
fn an_alignment_that_is_no_power_of_two_is_refused() {
    for bad in [0, 1, 24, 1 << 30] {
        let file = changed(|f| f.set("general.alignment", Meta::U32(bad)));
        assert_refused(&file, "key general.alignment: expected a power of two from 8 to 65536");
    }
}

#[test]
fn a_larger_alignment_is_followed() {
    let file = changed(|f| {
        f.set("general.alignment", Meta::U32(128));
        f.alignment = 128;
    });
    assert!(read_bytes(&file.bytes()).is_ok());
}

#[test]
fn dimensions_that_overflow_are_refused() {
    let file = changed(|f| f.tensor("token_embd.weight").dims = vec![8, u64::MAX / 2]);
    assert_refused(
        &file,
        "tensor token_embd.weight: the dimensions [8, 9223372036854775807] overflow",
    );
    let file = changed(|f| f.tensor("token_embd.weight").dims = vec![u64::MAX, 1]);
    assert_refused(&file, "tensor token_embd.weight");
}

#[test]
fn a_dimension_of_zero_and_too_many_dimensions_are_refused() {
    let file = changed(|f| f.tensor("token_embd.weight").dims = vec![8, 0]);
    assert_refused(&file, "tensor token_embd.weight: a dimension is 0");
    let file = changed(|f| f.tensor("token_embd.weight").dims = vec![8, 3, 1, 1, 1]);
    assert_refused(&file, "tensor token_embd.weight: expected 1 to 4 dimensions, found 5");
}

#[test]
fn rows_that_do_not_fill_blocks_are_refused() {
    let file = changed(|f| f.tensor("blk.0.ffn_down.weight").dims = vec![24, 8]);
    assert_refused(&file, "blk.0.ffn_down.weight: rows of 24 weights do not fill blocks of q8_0");
}

#[test]
fn an_unknown_element_type_is_named() {
    let file = changed(|f| f.tensor("output_norm.weight").type_id = 9);
    assert_refused(
        &file,
        "tensor output_norm.weight: the element type Q8_1 (ggml type 9) is not read",
    );
}

#[test]
fn a_missing_key_is_named() {
    let file = changed(|f| f.remove("llama.embedding_length"));
    assert_refused(&file, "the key llama.embedding_length is missing");
    let file = changed(|f| f.remove("general.architecture"));
    assert_refused(&file, "the key general.architecture is missing");
}

#[test]
fn a_key_of_the_wrong_kind_is_named() {
    let file = changed(|f| f.set("llama.block_count", Meta::text("one")));
    assert_refused(&file, "key llama.block_count: expected an integer, found a text");
    let file = changed(|f| f.set("llama.embedding_length", Meta::I32s(vec![8])));
    assert_refused(&file, "key llama.embedding_length: expected an integer, found an array");
    let file = changed(|f| f.set("llama.feed_forward_length", Meta::F32s(vec![32.0])));
    assert_refused(&file, "expected an integer or an array of integers, found an array of floats");
}

#[test]
fn numbers_by_layer_that_differ_or_are_too_many_are_refused() {
    let file = changed(|f| f.set("llama.feed_forward_length", Meta::I32s(vec![32; 2])));
    let expected = "key llama.feed_forward_length: expected a number for each of 1 layers, found 2";
    assert_refused(&file, expected);
    let file = changed(|f| f.set("llama.attention.head_count_kv", Meta::I32s(vec![-1])));
    assert_refused(&file, "head_count_kv: expected a positive 32-bit number, found -1");
    let file = changed(|f| {
        f.set("llama.block_count", Meta::U32(3));
        f.set("llama.attention.head_count_kv", Meta::I32s(vec![1, 1, 2]));
    });
    let expected = "head_count_kv: expected the same number in every layer, found 1 in layer 0 and 2 in layer 2";
    assert_refused(&file, expected);
    let huge = [&10u32.to_le_bytes()[..], &1u64.to_le_bytes(), &u64::MAX.to_le_bytes()].concat();
    let file = changed(|f| f.set("a", Meta::Raw(9, huge)));
    assert_refused(&file, "key a: expected numbers of 63 bits, found 18446744073709551615");
}

#[test]
fn other_architectures_are_refused_by_name() {
    let found = refusal(&GgufFile::of("qwen35").bytes());
    assert!(found.contains("the architecture qwen35 is not supported"), "{found}");
    for known in ["llama, qwen2", "gemma3", "gpt-oss"] {
        assert!(found.contains(known), "{found}");
    }
}

#[test]
fn keys_that_change_the_computation_are_refused_by_name() {
    for (key, value) in [
        ("llama.attention.sliding_window", Meta::U32(4096)),
        ("llama.logit_scale", Meta::F32(0.5)),
        ("llama.attention.scale", Meta::F32(0.1)),
        ("llama.rope.scaling.attn_factor", Meta::F32(1.2)),
        ("llama.something_new", Meta::Bool(true)),
    ] {
        let file = changed(|f| f.set(key, value));
        assert_refused(&file, &format!("the key {key} asks for a computation"));
    }
    let experts = changed(|f| f.set("llama.expert_count", Meta::U32(8)));
    assert_refused(&experts, "the key llama.expert_used_count is missing");
    let inert = changed(|f| f.set("llama.expert_count", Meta::U32(0)));
    assert!(read_bytes(&inert.bytes()).is_ok());
}

#[test]
fn other_rope_scalings_are_refused_by_name() {
    for kind in ["yarn", "longrope", "su"] {
        let file = changed(|f| f.set("llama.rope.scaling.type", Meta::text(kind)));
        assert_refused(&file, &format!("the rope scaling {kind} is not supported"));
    }
    let file = changed(|f| f.set("llama.rope.dimension_count", Meta::U32(2)));
    assert_refused(&file, "key llama.rope.dimension_count: expected the head size 4, found 2");
}

#[test]
fn unreadable_rope_factors_are_refused() {
    let factors = |values: &[f32]| {
        changed(|f| {
            f.float("rope_freqs.weight", &[values.len() as u64]);
            f.tensor("rope_freqs.weight").bytes =
                values.iter().flat_map(|v| v.to_le_bytes()).collect();
        })
    };
    assert_refused(&factors(&[1.0]), "tensor rope_freqs.weight: expected 2 factors, found 1");
    assert_refused(&factors(&[1.0, f32::NAN]), "expected positive factors, found NaN");
    assert_refused(&factors(&[1.0, 0.0]), "expected positive factors, found 0");
}

#[test]
fn head_counts_that_do_not_divide_are_refused() {
    let file = changed(|f| f.set("llama.attention.head_count", Meta::U32(3)));
    assert_refused(&file, "3 heads do not divide 8 dimensions");
    let file = changed(|f| f.set("llama.attention.head_count_kv", Meta::U32(0)));
    assert_refused(&file, "head_count_kv: expected a positive 32-bit number, found 0");
}

#[test]
fn unknown_tensors_and_blocks_are_refused_by_name() {
    for name in ["blk.0.ffn_gate_inp.weight", "blk.1.attn_q.weight", "blk.00.attn_q.weight", "mm.0"]
    {
        let file = changed(|f| f.float(name, &[8]));
        assert_refused(&file, &format!("tensor {name}: expected no tensor of this name"));
    }
}

#[test]
fn adapters_are_refused() {
    let file = changed(|f| f.set("general.type", Meta::text("adapter")));
    assert_refused(&file, "found a GGUF file of type adapter");
}
