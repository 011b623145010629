//! The memory that a run takes at least, computed from the declared types before anything is allocated.
//!
//! What an operator needs beside its results is only known while it runs; it asks for that itself.

use std::collections::BTreeMap;

use super::{CompiledOperation, StateSlots};
use crate::error::{Error, Result};
use crate::package::read::interface::{Feature, Interface};
use crate::package::read::literal::DeclaredType;
use crate::package::spec::DataType;

/// The bytes of inputs and states together with the most bytes of declared values that exist at once
/// while `operations` run. A slice counts nothing, since it may share the memory of its argument, and
/// arguments that are used for the last time are gone before the results exist, since these may take
/// their place. Returns an input error if a size is beyond what memory can address.
pub(super) fn peak_bytes(
    interface: &Interface,
    inputs: &[usize],
    states: &[StateSlots],
    operations: &[CompiledOperation],
) -> Result<u64> {
    let mut bytes_of: BTreeMap<usize, u64> = BTreeMap::new();
    let mut now: u64 = 0;
    let add = |now: u64, bytes: u64| {
        now.checked_add(bytes).ok_or_else(|| Error::input("its values together exceed any memory"))
    };
    for (slots, Feature { kind, .. }) in states.iter().zip(&interface.states) {
        now = add(now, size_bytes(kind))?;
        // A state that the run writes is moved out, and changed in place if it can be.
        if let StateSlots { first: Some(first), last: Some(_) } = slots {
            bytes_of.insert(*first, size_bytes(kind));
        }
    }
    for (slot, Feature { kind, .. }) in inputs.iter().zip(&interface.inputs) {
        now = add(now, size_bytes(kind))?;
        bytes_of.insert(*slot, size_bytes(kind));
    }
    let mut peak = now;
    for operation in operations {
        let last = operation.arguments.iter().flat_map(|(_, arguments)| arguments);
        for argument in last.filter(|argument| argument.is_last) {
            now -= bytes_of.remove(&argument.slot).unwrap_or(0);
        }
        for (slot, kind) in operation.outputs.iter().zip(&operation.kinds) {
            let bytes = if operation.is_slice { 0 } else { size_bytes(kind) };
            now = add(now, bytes)?;
            bytes_of.insert(*slot, bytes);
        }
        peak = peak.max(now);
    }
    Ok(peak)
}

/// The name of the declared value that takes the most memory, for messages; `None` if all are empty.
pub(super) fn largest_value(
    interface: &Interface,
    operations: &[CompiledOperation],
) -> Option<String> {
    let states = interface.states.iter().map(|of| (size_bytes(&of.kind), "state ", &of.name));
    let inputs = interface.inputs.iter().map(|of| (size_bytes(&of.kind), "input ", &of.name));
    let results = operations.iter().filter(|operation| !operation.is_slice).map(|operation| {
        let bytes = operation.kinds.iter().map(size_bytes).max().unwrap_or(0);
        (bytes, "", &operation.title)
    });
    let largest = states.chain(inputs).chain(results).max_by_key(|(bytes, ..)| *bytes);
    largest.filter(|(bytes, ..)| *bytes > 0).map(|(_, what, name)| format!("{what}{name}"))
}

/// The bytes of a value of this type while a function runs; 0 if a length is not fixed.
fn size_bytes(kind: &DeclaredType) -> u64 {
    let each: u64 = if kind.data_type == DataType::Bool { 1 } else { 4 };
    let elements = kind
        .fixed_shape()
        .map_or(0, |shape| shape.iter().fold(1u64, |all, len| all.saturating_mul(*len as u64)));
    elements.saturating_mul(each)
}
