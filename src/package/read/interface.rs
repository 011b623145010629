//! The inputs, outputs and states of a function. The program and the model's description both list
//! them, and must agree.

use std::collections::BTreeSet;

use super::literal::DeclaredType;
use crate::error::{At, Error, Result};
use crate::package::spec::{
    ArrayDataType, ArrayFeatureType, Block, DataType, FeatureDescription, Function,
    FunctionDescription, Model, ModelDescription, TypeOf,
};

/// A function with more inputs, outputs and states is refused.
const MAX_FEATURES: usize = 1024;

/// One input, output or state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name, both for applications and in the program.
    pub name: String,
    /// Its type.
    pub kind: DeclaredType,
}

/// The inputs, outputs and states of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The input tensors, in the program's order.
    pub inputs: Vec<Feature>,
    /// The output tensors, in the program's order.
    pub outputs: Vec<Feature>,
    /// The states (fp16 buffers that stay between calls), in the program's order.
    pub states: Vec<Feature>,
}

impl Interface {
    /// The interface of `function` with the body `block`. `type_of` looks up the types of values.
    /// Returns an input error if the description differs.
    pub(super) fn new<'a>(
        function: &Function,
        block: &Block,
        type_of: impl Fn(&str) -> Option<&'a DeclaredType>,
        description: &FunctionDescription,
    ) -> Result<Self> {
        let mut interface = Interface::default();
        let found = function.inputs.len().saturating_add(block.outputs.len());
        if found > MAX_FEATURES {
            return Err(Error::input(format!(
                "expected at most {MAX_FEATURES} inputs, outputs and states, found {found}"
            )));
        }
        for input in &function.inputs {
            let kind =
                DeclaredType::of(input.kind.as_ref()).at(|| format!("input {}", input.name))?;
            let of = input.kind.as_ref().and_then(|kind| kind.of.as_ref());
            let is_state = matches!(of, Some(TypeOf::State(_)));
            if is_state && (kind.data_type != DataType::Float16 || kind.fixed_shape().is_none()) {
                return Err(Error::input(format!(
                    "state {}: expected fp16 of fixed shape, found {kind}",
                    input.name
                )));
            }
            let list = if is_state { &mut interface.states } else { &mut interface.inputs };
            list.push(Feature { name: input.name.clone(), kind });
        }
        for name in &block.outputs {
            let kind = type_of(name).ok_or_else(|| {
                Error::input(format!("output {name}: no operation computes this value"))
            })?;
            if interface.inputs.iter().any(|input| input.name == *name) {
                return Err(Error::input(format!("output {name} has the name of an input")));
            }
            interface.outputs.push(Feature { name: name.clone(), kind: kind.clone() });
        }
        agree("input", &interface.inputs, &description.inputs)?;
        agree("output", &interface.outputs, &description.outputs)?;
        agree("state", &interface.states, &description.states)?;
        Ok(interface)
    }
}

/// Checks that the description lists exactly the features of the program.
fn agree(what: &str, found: &[Feature], described: &[FeatureDescription]) -> Result<()> {
    let names: BTreeSet<&str> = described.iter().map(|d| d.name.as_str()).collect();
    let program: BTreeSet<&str> = found.iter().map(|f| f.name.as_str()).collect();
    if names != program || names.len() != described.len() || program.len() != found.len() {
        return Err(Error::input(format!(
            "the description has the {what}s {names:?}, but the program has {program:?}"
        )));
    }
    for description in described {
        let Some(feature) = found.iter().find(|f| f.name == description.name) else { continue };
        let place = || format!("{what} {}", feature.name);
        let kind = description.kind.as_ref();
        let array = match what {
            "state" => kind.and_then(|kind| kind.state.as_ref()?.array.as_ref()),
            _ => kind.and_then(|kind| kind.multi_array.as_ref()),
        };
        let array = array.ok_or_else(|| {
            Error::input("the description does not say which tensor this is").at(place())
        })?;
        agree_array(&feature.kind, array, what == "output").at(place)?;
    }
    Ok(())
}

/// Checks the described type. `may_lack_shape` is for outputs, whose shape coremltools leaves out.
fn agree_array(kind: &DeclaredType, array: &ArrayFeatureType, may_lack_shape: bool) -> Result<()> {
    let element = match ArrayDataType::try_from(array.data_type) {
        Ok(ArrayDataType::Float16) => Some(DataType::Float16),
        Ok(ArrayDataType::Float32) => Some(DataType::Float32),
        Ok(ArrayDataType::Double) => Some(DataType::Float64),
        Ok(ArrayDataType::Int8) => Some(DataType::Int8),
        Ok(ArrayDataType::Int32) => Some(DataType::Int32),
        Ok(ArrayDataType::Invalid) | Err(_) => None,
    };
    let shape: Option<Vec<usize>> =
        array.shape.iter().map(|len| usize::try_from(*len).ok()).collect();
    // A scalar is described as a vector of one element.
    let is_scalar = kind.shape.is_empty() && array.shape == [1];
    let lacks = may_lack_shape && array.shape.is_empty();
    let fits = shape.is_some_and(|shape| kind.holds(&shape)) || is_scalar || lacks;
    if element == Some(kind.data_type) && fits {
        return Ok(());
    }
    Err(Error::input(format!(
        "the program has {kind}, but the description has {element:?} {:?}",
        array.shape
    )))
}

/// The descriptions of all functions. If there are no descriptions of functions, the model's own
/// inputs, outputs and states are those of `main`.
pub(super) fn descriptions(model: &Model) -> Result<Vec<FunctionDescription>> {
    let none = ModelDescription::default();
    let model = model.description.as_ref().unwrap_or(&none);
    if model.functions.is_empty() {
        return Ok(vec![FunctionDescription {
            name: "main".into(),
            inputs: model.inputs.clone(),
            outputs: model.outputs.clone(),
            states: model.states.clone(),
        }]);
    }
    if !(model.inputs.is_empty() && model.outputs.is_empty() && model.states.is_empty()) {
        return Err(Error::input(
            "the description lists inputs, outputs or states both per function and for the model",
        ));
    }
    if !model.functions.iter().any(|f| f.name == model.default_function_name) {
        return Err(Error::input(format!(
            "defaultFunctionName {:?} is not among the functions",
            model.default_function_name
        )));
    }
    Ok(model.functions.clone())
}
