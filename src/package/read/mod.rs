//! Reads packages that any tool may have written: the folder, the model, its functions and weights.
//!
//! Everything is checked when a package is opened: versions, names, types, the description against
//! the program, every blob. Other code can then rely on it.

mod folder;
pub mod interface;
pub mod literal;
pub(super) mod scope;
mod traffic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;

use self::folder::PackageFolder;
use self::interface::Interface;
use self::literal::LiteralTensor;
use crate::checkpoint::FileBytes;
use crate::error::{At, Error, Result};
use crate::package::blob::read::{BlobFile, SharedBytes};
use crate::package::budget::Budget;
use crate::package::spec::{self, Block, Bound, FunctionDescription, Model, Program, Value};

/// A larger model is refused. Programs are small, since weights are in a separate file, but read they take
/// many times their bytes.
const MAX_MODEL_BYTES: usize = 1 << 26;
/// A model with more functions is refused. One with experts has two for each of them.
const MAX_FUNCTIONS: usize = 4096;
/// The versions of the format that can hold an ML Program, with the operator set that each added.
const OPSETS: [(i32, &str); 4] = [(6, "CoreML5"), (7, "CoreML6"), (8, "CoreML7"), (9, "CoreML8")];
/// The next version, which is that of iOS 26.
const NEXT: (i32, &str) = (10, "CoreML9");

/// A package that has been read and checked.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    functions: BTreeMap<String, CheckedFunction>,
    weights: BTreeMap<String, BlobFile>,
    budget: Arc<Budget>,
}

/// One function of a package.
#[derive(Debug)]
pub struct CheckedFunction {
    /// Its inputs, outputs and states.
    pub interface: Interface,
    /// Its body for the operator set that it uses.
    pub block: Block,
}

impl Package {
    /// Opens the package in the folder `path`.
    ///
    /// # Errors
    /// Input errors that name the file and the value, for anything that the format does not allow
    /// and for programs that need iOS 26 or later.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = PackageFolder::open(path)?;
        let mut weights = BTreeMap::new();
        for (name, file) in &folder.weights {
            let bytes = SharedBytes::from(FileBytes::map(file)?);
            weights.insert(name.clone(), BlobFile::new(file, &bytes)?);
        }
        let bytes = FileBytes::map(&folder.model)?;
        Self::from_parts(path, &bytes, weights).at(|| folder.model.display().to_string())
    }

    /// The package, whose execution draws from `budget` instead of one of its own.
    pub fn within(self, budget: &Arc<Budget>) -> Self {
        Package { budget: Arc::clone(budget), ..self }
    }

    /// Builds a package from the bytes of its model and from its weight files, by the names that
    /// programs use for them. `path` is used in messages only.
    ///
    /// # Errors
    /// As for [`open`](Package::open).
    pub fn from_parts(
        path: &Path,
        model: &[u8],
        weights: BTreeMap<String, BlobFile>,
    ) -> Result<Self> {
        if model.len() > MAX_MODEL_BYTES {
            return Err(Error::input(format!(
                "expected a model of at most {MAX_MODEL_BYTES} bytes, found {}",
                model.len()
            )));
        }
        let size_bytes = model.len() as u64;
        let mut model = Model::decode(model)
            .map_err(|e| Error::input("this is not a Core ML model").because(e))?;
        let program = model.program.take().ok_or_else(|| {
            Error::input("expected an ML Program, found another kind of model")
                .hint("convert the model again with convert_to=\"mlprogram\"")
        })?;
        let opset = opset(model.specification_version)?;
        let descriptions = interface::descriptions(&model)?;
        let functions = functions(program, &descriptions, opset)?;
        let stored = weights.values().map(BlobFile::size_bytes).sum::<u64>();
        let budget = Budget::of(size_bytes.saturating_add(stored));
        let package = Package { path: path.into(), functions, weights, budget };
        package.check_literals()?;
        Ok(package)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What executing the package may take.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// All functions by name.
    pub fn functions(&self) -> &BTreeMap<String, CheckedFunction> {
        &self.functions
    }

    /// The function `name`.
    ///
    /// # Errors
    /// An input error if there is no such function.
    pub fn function(&self, name: &str) -> Result<&CheckedFunction> {
        self.functions.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.functions.keys().map(String::as_str).collect();
            Error::input(format!(
                "the package has no function `{name}`; it has {}",
                names.join(", ")
            ))
            .at(self.path.display())
        })
    }

    /// Reads a literal, whose elements may be in a weight file.
    pub fn literal(&self, value: &Value) -> Result<LiteralTensor> {
        LiteralTensor::read(value, |file, offset| {
            let found = self.weights.get(file);
            found
                .ok_or_else(|| Error::input(format!("the package has no weight file `{file}`")))?
                .blob(offset)
        })
    }

    /// Reads every literal once, so that reading does not fail later.
    fn check_literals(&self) -> Result<()> {
        for (name, function) in &self.functions {
            self.check_block(&function.block).at(|| format!("function {name}"))?;
        }
        Ok(())
    }

    fn check_block(&self, block: &Block) -> Result<()> {
        for operation in &block.operations {
            let inputs = operation.inputs.values().flat_map(|argument| &argument.bindings);
            let literals = inputs.filter_map(|binding| match &binding.bound {
                Some(Bound::Value(value)) => Some(value),
                _ => None,
            });
            for value in literals.chain(operation.attributes.values()) {
                self.literal(value).at(|| scope::title(operation))?;
            }
            operation.blocks.iter().try_for_each(|block| self.check_block(block))?;
        }
        Ok(())
    }
}

/// The index in [`OPSETS`] of the newest operator set that a version allows.
fn opset(version: i32) -> Result<usize> {
    if let Some(index) = OPSETS.iter().position(|(known, _)| *known == version) {
        return Ok(index);
    }
    let what = match version {
        _ if version == NEXT.0 => "the package is for iOS 26 (version 10, CoreML9)".to_owned(),
        _ if version > NEXT.0 => format!("the package has the unknown version {version}"),
        _ => format!("version {version} cannot hold an ML Program"),
    };
    Err(Error::input(format!("{what}; expected version 6 to 9 (iOS 15 to 18)"))
        .hint("convert it with minimum_deployment_target=ct.target.iOS18"))
}

/// Reads the functions of a program and compares each with its description. `newest` is the index
/// of the newest operator set that the version allows.
fn functions(
    program: Program,
    descriptions: &[FunctionDescription],
    newest: usize,
) -> Result<BTreeMap<String, CheckedFunction>> {
    if program.version != 1 {
        return Err(Error::input(format!(
            "program: expected version 1, found {}",
            program.version
        )));
    }
    let found = program.functions.len();
    if found > MAX_FUNCTIONS {
        return Err(Error::input(format!(
            "expected at most {MAX_FUNCTIONS} functions, found {found}"
        )));
    }
    let described: BTreeMap<&str, &FunctionDescription> =
        descriptions.iter().map(|description| (description.name.as_str(), description)).collect();
    let same = descriptions.len() == found
        && described.len() == found
        && described.keys().all(|name| program.functions.contains_key(*name));
    if !same {
        return Err(Error::input(format!(
            "the description has the functions {:?}, but the program has {:?}",
            descriptions.iter().map(|d| &d.name).collect::<Vec<_>>(),
            program.functions.keys().collect::<Vec<_>>()
        )));
    }
    let mut functions = BTreeMap::new();
    for (name, function) in program.functions {
        let Some(description) = described.get(name.as_str()) else { continue };
        let read = read_function(function, description, newest);
        let read = read.at(|| format!("function {name}"))?;
        functions.insert(name, read);
    }
    Ok(functions)
}

fn read_function(
    mut function: spec::Function,
    description: &FunctionDescription,
    newest: usize,
) -> Result<CheckedFunction> {
    if !OPSETS[..=newest].iter().any(|(_, opset)| *opset == function.opset) {
        return Err(Error::input(format!(
            "expected an operator set of at most {}, found {:?}",
            OPSETS[newest].1, function.opset
        )));
    }
    let block = function.block_specializations.remove(&function.opset).ok_or_else(|| {
        Error::input(format!("the function has no body for its operator set {}", function.opset))
    })?;
    let scope = scope::check(&function, &block)?;
    let interface = Interface::new(&function, &block, |name| scope.get(name), description)?;
    Ok(CheckedFunction { interface, block })
}

#[cfg(test)]
mod tests;
