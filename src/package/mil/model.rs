//! Functions put together to a model.

use std::collections::BTreeMap;

use super::function::BuiltFunction;
use super::types::Opset;
use crate::error::{Error, Result};
use crate::package::spec::{Metadata, Model, ModelDescription, Program};

/// The name that the only function of a model must have.
const MAIN: &str = "main";

/// A model of these functions, of which the first runs unless another is asked for. One function
/// must be called `main`; several need iOS 18 and names of their own. Fails (bug) otherwise.
pub fn model(functions: Vec<BuiltFunction>, metadata: Metadata) -> Result<Model> {
    let Some(first) = functions.first() else {
        return Err(Error::bug("a model without functions"));
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
        return Err(Error::bug("two functions of one name"));
    }
    let program = Program { version: 1, functions, attributes: BTreeMap::new() };
    Ok(Model {
        specification_version: opset.specification_version(),
        description: Some(description),
        program: Some(program),
    })
}
