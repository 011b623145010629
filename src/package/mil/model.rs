//! Combines functions into a model.

use std::collections::BTreeMap;

use super::function::BuiltFunction;
use super::types::Opset;
use crate::error::{Error, Result};
use crate::package::spec::{Metadata, Model, ModelDescription, Program};

/// The name of the function in a model with one function.
const MAIN: &str = "main";

/// Combines functions into a model, whose default is the first one.
///
/// # Errors
/// A bug-class error if there are no functions, if the only one is not called `main`, or if several
/// share a name or do not all use iOS 18.
pub fn model(functions: Vec<BuiltFunction>, metadata: Metadata) -> Result<Model> {
    let Some(first) = functions.first() else {
        return Err(Error::bug("expected at least one function, found none"));
    };
    let opset = first.opset;
    let mut description = ModelDescription { metadata: Some(metadata), ..Default::default() };
    let described = functions.iter().map(|function| function.description.clone());
    if let [only] = &functions[..] {
        let expected = only.description.name == MAIN;
        let only = only.description.clone();
        if !expected {
            return Err(Error::bug(format!("expected a function `main`, found `{}`", only.name)));
        }
        (description.inputs, description.outputs) = (only.inputs, only.outputs);
        description.states = only.states;
    } else {
        if opset < Opset::Ios18 || functions.iter().any(|function| function.opset != opset) {
            return Err(Error::bug("several functions in one model need iOS 18 throughout"));
        }
        description.default_function_name = first.description.name.clone();
        description.functions = described.collect();
    }
    let count = functions.len();
    let functions: BTreeMap<_, _> = functions
        .into_iter()
        .map(|function| (function.description.name, function.function))
        .collect();
    if functions.len() < count {
        return Err(Error::bug("two functions have the same name"));
    }
    let program = Program { version: 1, functions, attributes: BTreeMap::new() };
    Ok(Model {
        specification_version: opset.specification_version(),
        description: Some(description),
        program: Some(program),
    })
}
