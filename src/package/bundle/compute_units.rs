//! Which compute units a package is to be run on. What the Neural Engine is reported to compute
//! wrongly, or to end the process on, stays away from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::package::spec::{Bound, Model, Operation, TypeOf};

/// The most rows that ids can choose from on the Neural Engine, where they have 16 bits.
pub(super) const MAX_GATHER_ROWS: usize = 1 << 16;

/// The compute units that something is to be run on, named as in the runner's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeUnits {
    /// Not on the Neural Engine.
    CpuAndGpu,
    /// Any; the system chooses.
    #[default]
    All,
}

impl ComputeUnits {
    /// Where the functions of `model` may run. Not on the Neural Engine are
    ///
    /// - scales on top of a weight that another operator expands, such as those of `mxfp4`: loading
    ///   them aborts the process (coremltools issue 2688);
    /// - rows chosen from more than 65,536: their ids are cut to 16 bits (executorch issue 7616).
    pub(super) fn of(model: &Model) -> Self {
        let functions = model.program.iter().flat_map(|program| program.functions.values());
        let mut blocks = functions.flat_map(|function| function.block_specializations.values());
        let is_barred = blocks.any(|block| {
            let outputs = |operation: &Operation| operation.outputs.clone();
            let makers = block.operations.iter().flat_map(|operation| {
                outputs(operation).into_iter().map(move |output| (output.name, operation))
            });
            let makers: BTreeMap<String, &Operation> = makers.collect();
            block.operations.iter().any(|operation| match operation.kind.as_str() {
                "constexpr_blockwise_shift_scale" => made_by(operation, "data", &makers)
                    .is_some_and(|maker| maker.kind.starts_with("constexpr_")),
                "gather" => made_by(operation, "x", &makers)
                    .and_then(rows)
                    .is_some_and(|rows| rows > MAX_GATHER_ROWS as u64),
                _ => false,
            })
        });
        if is_barred { ComputeUnits::CpuAndGpu } else { ComputeUnits::All }
    }
}

/// The operation that makes an argument; `None` if the argument is a value or an input.
fn made_by<'a>(
    operation: &Operation,
    argument: &str,
    makers: &BTreeMap<String, &'a Operation>,
) -> Option<&'a Operation> {
    let bindings = &operation.inputs.get(argument)?.bindings;
    match bindings.first()?.bound.as_ref()? {
        Bound::Name(name) => makers.get(name).copied(),
        Bound::Value(_) => None,
    }
}

/// The length of the first axis of what an operation makes.
fn rows(operation: &Operation) -> Option<u64> {
    match operation.outputs.first()?.kind.as_ref()?.of.as_ref()? {
        TypeOf::Tensor(tensor) => Some(tensor.dimensions.first()?.constant.as_ref()?.size),
        _ => None,
    }
}
