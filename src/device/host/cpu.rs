//! The engine of this machine: evalkit's own execution of packages on the processor.

use std::path::Path;

use super::engine::{Engine, Kind, Shape};
use crate::device::protocol::message::ComputeUnits;
use crate::device::protocol::result::{Operation, Plan, Unit};
use crate::error::{At, Error, Result};
use crate::package::bundle::{Bundle, FileCheck};
use crate::package::chain::Chain;
use crate::package::execute::Precision;
use crate::package::program::FUNCTIONS;
use crate::package::spec::Block;

/// Blocks within blocks that a plan goes into.
const MAX_DEPTH: usize = 64;

/// Packages on the processor, at single precision.
#[derive(Debug, Default)]
pub struct Cpu {
    chain: Option<Chain>,
}

impl Cpu {
    fn chain(&mut self) -> Result<&mut Chain> {
        self.chain.as_mut().ok_or_else(|| Error::bug("an engine that has loaded nothing"))
    }
}

impl Engine for Cpu {
    fn kind(&self) -> Kind {
        Kind {
            engine: "evalkit-cpu",
            runtime: format!("evalkit {}", env!("CARGO_PKG_VERSION")),
            compute_units: vec![ComputeUnits::Cpu, ComputeUnits::All],
        }
    }

    fn load(&mut self, folder: &Path, _units: ComputeUnits) -> Result<Shape> {
        self.chain = None;
        let bundle = Bundle::open(folder)?;
        // Files are mapped: one that is too short must be found before it is read.
        bundle.check_files(FileCheck::Sizes)?;
        let model = &bundle.manifest.model;
        if model.prefill_tokens == 0 || model.context_tokens == 0 || model.vocab_size == 0 {
            return Err(Error::input("model.json: expected sizes above 0"));
        }
        let mut functions = FUNCTIONS.map(str::to_owned).to_vec();
        functions.sort();
        let shape = Shape {
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

    fn plan(&self, folder: &Path, _units: ComputeUnits) -> Result<Plan> {
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
                    preferred: Some(Unit::Cpu),
                    supported: vec![Unit::Cpu],
                    cost_weight: None,
                }));
            }
        }
        Ok(Plan { operations })
    }
}

/// The operators of a block and of those within it, in order.
fn list(block: &Block, depth: usize, kinds: &mut Vec<String>) {
    for operation in &block.operations {
        kinds.push(operation.kind.clone());
        if depth > 0 {
            operation.blocks.iter().for_each(|inner| list(inner, depth - 1, kinds));
        }
    }
}
