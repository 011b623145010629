//! The engine of this machine: evalkit executes packages on the processor by itself.

use std::path::Path;

use super::engine::{Engine, EngineKind, ModelShape};
use crate::device::protocol::message::ComputeUnits;
use crate::device::protocol::result::{ComputeDevice, ComputePlan, Operation};
use crate::error::{At, Error, Result};
use crate::package::bundle::{Bundle, FileCheck};
use crate::package::chain::Chain;
use crate::package::execute::Precision;
use crate::package::program::FUNCTIONS;
use crate::package::spec::Block;

/// How deep a plan descends into nested blocks.
const MAX_DEPTH: usize = 64;

/// Executes packages on the processor, in single precision.
#[derive(Debug)]
pub struct Cpu {
    chain: Option<Chain>,
    simulated: bool,
}

impl Cpu {
    /// An engine without a package. `simulated` says that it stands in for another device.
    pub fn new(simulated: bool) -> Cpu {
        Cpu { chain: None, simulated }
    }

    fn chain(&mut self) -> Result<&mut Chain> {
        self.chain.as_mut().ok_or_else(|| Error::bug("the engine has no package loaded"))
    }
}

impl Engine for Cpu {
    fn kind(&self) -> EngineKind {
        EngineKind {
            engine: "evalkit-cpu",
            simulated: self.simulated,
            runtime: format!("evalkit {}", env!("CARGO_PKG_VERSION")),
            compute_units: vec![ComputeUnits::Cpu, ComputeUnits::All],
        }
    }

    fn load(&mut self, folder: &Path, _units: ComputeUnits) -> Result<ModelShape> {
        self.chain = None;
        let bundle = Bundle::open(folder)?;
        // Files are memory-mapped, so one that is too short must be found before it is read.
        bundle.check_files(FileCheck::Sizes)?;
        let model = &bundle.manifest.model;
        if model.prefill_tokens == 0 || model.context_tokens == 0 || model.vocab_size == 0 {
            return Err(Error::input("expected sizes above 0, found a 0").at("model.json"));
        }
        let mut functions = FUNCTIONS.map(str::to_owned).to_vec();
        functions.sort();
        let shape = ModelShape {
            functions,
            context_tokens: model.context_tokens,
            prefill_tokens: model.prefill_tokens,
            vocab_size: model.vocab_size,
        };
        self.chain = Some(Chain::load(&bundle, Precision::Single)?);
        Ok(shape)
    }

    fn unload(&mut self) {
        self.chain = None;
    }

    fn restart(&mut self) -> Result<()> {
        self.chain()?.reset();
        Ok(())
    }

    fn append(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        match ids {
            [id] => Ok(vec![self.chain()?.decode(*id)?]),
            ids => self.chain()?.prefill(ids),
        }
    }

    fn plan(&self, folder: &Path, _units: ComputeUnits) -> Result<ComputePlan> {
        let bundle = Bundle::open(folder)?;
        bundle.check_files(FileCheck::Sizes)?;
        let mut operations = Vec::new();
        for entry in &bundle.manifest.packages {
            let package = bundle.package(entry).at(|| entry.path.clone())?;
            for (name, function) in package.functions() {
                let mut kinds = Vec::new();
                list(&function.block, MAX_DEPTH, &mut kinds);
                operations.extend(kinds.into_iter().map(|operator| Operation {
                    package: entry.path.clone(),
                    function: name.clone(),
                    operator,
                    preferred: Some(ComputeDevice::Cpu),
                    supported: vec![ComputeDevice::Cpu],
                    cost_weight: None,
                }));
            }
        }
        Ok(ComputePlan { operations })
    }
}

/// Lists the operators of a block and of the blocks nested in it, in order.
fn list(block: &Block, depth: usize, kinds: &mut Vec<String>) {
    for operation in &block.operations {
        kinds.push(operation.kind.clone());
        if depth > 0 {
            operation.blocks.iter().for_each(|inner| list(inner, depth - 1, kinds));
        }
    }
}
