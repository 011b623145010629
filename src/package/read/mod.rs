//! Reading a package that anyone may have written: its folder, model, functions and weights.
//!
//! Everything is checked when the package is opened, so that what is handed out can be relied
//! on: versions, names, types, the description against the program, every blob.

mod folder;
pub mod interface;
pub mod literal;
pub(super) mod scope;
mod traffic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;

use self::folder::Folder;
use self::interface::{Feature, Interface};
use self::literal::Literal;
use crate::checkpoint::FileBytes;
use crate::error::{At, Error, Result};
use crate::package::blob::read::{BlobFile, Span};
use crate::package::spec::{self, Block, Bound, FunctionDescription, Model, Program, Value};

/// Weights are in a file of their own, so a program of this size is not one.
const MAX_MODEL_BYTES: usize = 1 << 30;
/// Versions of the format that hold an ML Program, with the operator set each brought.
const OPSETS: [(i32, &str); 4] = [(6, "CoreML5"), (7, "CoreML6"), (8, "CoreML7"), (9, "CoreML8")];
/// What comes after them: iOS 26.
const NEXT: (i32, &str) = (10, "CoreML9");

/// A package, read and checked.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    version: i32,
    functions: BTreeMap<String, Function>,
    default_function: String,
    weights: BTreeMap<String, BlobFile>,
}

/// One function of a package.
#[derive(Debug)]
pub struct Function {
    /// What it takes and gives.
    pub interface: Interface,
    /// Its body for the operator set that it names.
    pub block: Block,
}

impl Package {
    /// Opens the package in the folder `path`. Fails (input), naming the file and the value, on
    /// anything that Core ML's format does not allow and on programs for iOS 26 or later.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Folder::open(path)?;
        let mut weights = BTreeMap::new();
        for (name, file) in &folder.weights {
            let bytes = Span::from(FileBytes::map(file)?);
            weights.insert(name.clone(), BlobFile::new(file, &bytes)?);
        }
        let bytes = FileBytes::map(&folder.model)?;
        Self::from_parts(path, &bytes, weights).at(|| folder.model.display().to_string())
    }

    /// A package from the bytes of its model and its weight files by the names that programs
    /// call them; `path` is for messages. Fails (input) as [`open`](Package::open) does.
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
        let mut model = Model::decode(model)
            .map_err(|e| Error::input("this is no Core ML model").because(e))?;
        let program = model.program.take().ok_or_else(|| {
            Error::input("expected an ML Program, found another kind of model")
                .hint("convert the model again with convert_to=\"mlprogram\"")
        })?;
        let opset = opset(model.specification_version)?;
        let descriptions = interface::descriptions(&model)?;
        let functions = functions(program, &descriptions, opset)?;
        let default = model.description.map(|d| d.default_function_name).unwrap_or_default();
        let default_function = if default.is_empty() { "main".into() } else { default };
        let version = model.specification_version;
        let package = Package { path: path.into(), version, functions, default_function, weights };
        package.check_literals()?;
        Ok(package)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format's version: 6 is iOS 15, 9 is iOS 18.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// All functions by name.
    pub fn functions(&self) -> &BTreeMap<String, Function> {
        &self.functions
    }

    /// The function that runs unless another is asked for.
    pub fn default_function(&self) -> &str {
        &self.default_function
    }

    /// The weight files by the names that programs call them.
    pub fn weight_files(&self) -> &BTreeMap<String, BlobFile> {
        &self.weights
    }

    /// The function `name`. Fails (input) where there is none.
    pub fn function(&self, name: &str) -> Result<&Function> {
        self.functions.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.functions.keys().map(String::as_str).collect();
            Error::input(format!("no function `{name}`; it has {}", names.join(", ")))
                .at(self.path.display())
        })
    }

    /// The elements of a literal of this package, wherever they are.
    pub fn literal(&self, value: &Value) -> Result<Literal> {
        Literal::read(value, |file, offset| {
            let found = self.weights.get(file);
            found
                .ok_or_else(|| Error::input(format!("the package has no weight file `{file}`")))?
                .blob(offset)
        })
    }

    /// Reads every literal once, so that none fails later.
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

impl Function {
    /// The input called `name`.
    pub fn input(&self, name: &str) -> Option<&Feature> {
        self.interface.inputs.iter().find(|input| input.name == name)
    }
}

/// The newest operator set of a format's version.
fn opset(version: i32) -> Result<usize> {
    if let Some(index) = OPSETS.iter().position(|(known, _)| *known == version) {
        return Ok(index);
    }
    let what = match version {
        _ if version == NEXT.0 => "the package is for iOS 26 (version 10, CoreML9)".to_owned(),
        _ if version > NEXT.0 => format!("the package's version {version} is not known"),
        _ => format!("version {version} has no ML Program"),
    };
    Err(Error::input(format!("{what}; expected version 6 to 9 (iOS 15 to 18)"))
        .hint("convert it with minimum_deployment_target=ct.target.iOS18"))
}

/// The functions of a program, each against its description; `newest` is the newest operator set
/// that the version allows.
fn functions(
    program: Program,
    descriptions: &[FunctionDescription],
    newest: usize,
) -> Result<BTreeMap<String, Function>> {
    if program.version != 1 {
        return Err(Error::input(format!(
            "program: expected version 1, found {}",
            program.version
        )));
    }
    let described: Vec<&str> = descriptions.iter().map(|d| d.name.as_str()).collect();
    let same = descriptions.len() == program.functions.len()
        && described.iter().all(|name| program.functions.contains_key(*name));
    if !same {
        return Err(Error::input(format!(
            "the description has the functions {described:?}, the program {:?}",
            program.functions.keys().collect::<Vec<_>>()
        )));
    }
    let mut functions = BTreeMap::new();
    for (name, function) in program.functions {
        let Some(description) = descriptions.iter().find(|d| d.name == name) else { continue };
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
) -> Result<Function> {
    if !OPSETS[..=newest].iter().any(|(_, opset)| *opset == function.opset) {
        return Err(Error::input(format!(
            "expected an operator set of at most {}, found {:?}",
            OPSETS[newest].1, function.opset
        )));
    }
    let block = function.block_specializations.remove(&function.opset).ok_or_else(|| {
        Error::input(format!("there is no body for its operator set {}", function.opset))
    })?;
    let scope = scope::check(&function, &block)?;
    let interface = Interface::new(&function, &block, |name| scope.get(name), description)?;
    Ok(Function { interface, block })
}

#[cfg(test)]
mod tests;
