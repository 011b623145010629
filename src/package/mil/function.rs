//! A function under construction: its inputs, states, constants, operators and outputs.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use prost::Message as _;

use super::blob_tensor::BlobTensor;
use super::call::Call;
use super::literal::Literal;
use super::names::{Names, is_identifier};
use super::types::{Opset, TensorType};
use super::value::{StateBuffer, Value, ValueInfo, ValueOrigin};
use crate::error::{Error, Result};
use crate::package::spec::{
    ArrayDataType, ArrayFeatureType, Block, Bound, DataType, FeatureDescription, FeatureType,
    Function, FunctionDescription, NamedValueType, Operation, StateFeatureType, Value as Message,
};

/// Operators that need iOS 18.
const SINCE_IOS18: [&str; 7] = [
    "scaled_dot_product_attention",
    "slice_update",
    "read_state",
    "write_state",
    "constexpr_blockwise_shift_scale",
    "constexpr_sparse_to_dense",
    "constexpr_lut_to_sparse",
];

/// A finished function.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltFunction {
    /// The operator set that it uses.
    pub opset: Opset,
    /// Its name, inputs, outputs and states.
    pub description: FunctionDescription,
    /// The function as it is in the program.
    pub function: Function,
}

/// Builds one function. The operators are its methods; the module describes the rules.
#[derive(Debug)]
pub struct FunctionBuilder {
    name: Rc<str>,
    opset: Opset,
    /// The prefix of the names of the next values.
    scope: String,
    names: Names,
    inputs: Vec<NamedValueType>,
    operations: Vec<Operation>,
    /// Constants by their encoded message, so that equal constants are written once.
    constants: HashMap<Vec<u8>, Value>,
    /// The values that are outputs, with the names of the outputs.
    outputs: Vec<(Value, String)>,
    description: FunctionDescription,
}

impl FunctionBuilder {
    /// An empty function. If a package has one function, it must be called `main`.
    pub fn new(name: &str, opset: Opset) -> Self {
        FunctionBuilder {
            name: name.into(),
            opset,
            scope: String::new(),
            names: Names::default(),
            inputs: Vec::new(),
            operations: Vec::new(),
            constants: HashMap::new(),
            outputs: Vec::new(),
            description: FunctionDescription { name: name.into(), ..Default::default() },
        }
    }

    /// The operator set that it uses.
    pub fn opset(&self) -> Opset {
        self.opset
    }

    /// Sets the prefix of the names of all following values, for example `layer_3_attention`. Any
    /// text is allowed; values whose names would be equal are numbered.
    pub fn scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// Adds an input: a tensor of type fp16, fp32 or int32 and rank 1 to 5.
    ///
    /// # Errors
    /// A bug-class error for any other type or rank, and if the name is taken or not an identifier.
    pub fn input(&mut self, name: &str, data_type: DataType, shape: &[usize]) -> Result<Value> {
        let kind = TensorType::new(data_type, shape);
        self.take(name)?;
        let feature = FeatureType { multi_array: Some(array(&kind, name)?), state: None };
        self.description.inputs.push(described(name, feature));
        self.inputs.push(NamedValueType { name: name.into(), kind: Some(kind.to_spec()) });
        Ok(Value(self.declare(name.into(), kind, ValueOrigin::Input)))
    }

    /// Adds a state: an fp16 buffer that stays between calls and is zero at first.
    ///
    /// # Errors
    /// A bug-class error before iOS 18, and if the name is taken or not an identifier.
    pub fn state(&mut self, name: &str, shape: &[usize]) -> Result<StateBuffer> {
        if self.opset < Opset::Ios18 {
            return Err(Error::bug(format!(
                "state {name}: {} does not support states",
                self.opset
            )));
        }
        let kind = TensorType::new(DataType::Float16, shape);
        self.take(name)?;
        let state = StateFeatureType { array: Some(array(&kind, name)?) };
        let feature = FeatureType { multi_array: None, state: Some(state) };
        self.description.states.push(described(name, feature));
        self.inputs.push(NamedValueType { name: name.into(), kind: Some(kind.to_state_spec()) });
        Ok(StateBuffer(self.declare(name.into(), kind, ValueOrigin::Input)))
    }

    /// Adds a constant that is written into the program. Equal constants are written once.
    ///
    /// # Errors
    /// A bug-class error if the number of elements does not fit the shape.
    pub fn literal(&mut self, literal: Literal) -> Result<Value> {
        if let Literal::Halves(values, shape) = &literal {
            let (expected, found) = (shape.iter().product::<usize>(), values.len());
            if expected != found {
                return Err(Error::bug(format!(
                    "a constant of shape {shape:?} cannot have {found} elements"
                )));
            }
        }
        Ok(self.constant(&self.wanted("const"), literal.to_spec(), literal.kind()))
    }

    /// Adds a constant vector of int32.
    pub fn ints(&mut self, values: &[i32]) -> Value {
        let literal = Literal::Ints(values);
        self.constant(&self.wanted("const"), literal.to_spec(), literal.kind())
    }

    /// Adds a constant that is in the weight file. The same blob with the same shape is added once.
    ///
    /// # Errors
    /// A bug-class error if the number of elements does not fit the shape.
    pub fn blob(&mut self, name: &str, tensor: &BlobTensor) -> Result<Value> {
        let message = tensor.to_spec(self.opset).map_err(|error| error.at(name))?;
        Ok(self.constant(&self.wanted(name), message, tensor.kind()))
    }

    /// Makes `value` an output with the name `name`. It must be fp16, fp32 or int32, and of rank 1
    /// to 5.
    ///
    /// # Errors
    /// A bug-class error for any other value, and if the name is taken or not an identifier.
    pub fn output(&mut self, value: &Value, name: &str) -> Result<()> {
        self.take(name)?;
        let feature = FeatureType { multi_array: Some(array(value.kind(), name)?), state: None };
        let is_output = self.outputs.iter().any(|(out, _)| Rc::ptr_eq(&out.0, &value.0));
        let is_result = value.0.origin == ValueOrigin::Operator && self.owns(&value.0);
        // Inputs and constants cannot be renamed, and an output has only one name.
        let value = if is_result && !is_output { value.clone() } else { self.identity(value)? };
        self.description.outputs.push(described(name, feature));
        self.outputs.push((value, name.into()));
        Ok(())
    }

    /// Finishes the function.
    ///
    /// # Errors
    /// A bug-class error if it has no outputs.
    pub fn finish(self) -> Result<BuiltFunction> {
        if self.outputs.is_empty() {
            return Err(Error::bug(format!("function {}: it has no outputs", self.name)));
        }
        let mut operations = self.operations;
        let renamed: HashMap<&str, &str> =
            self.outputs.iter().map(|(value, name)| (value.name(), name.as_str())).collect();
        operations.iter_mut().for_each(|operation| rename(operation, &renamed));
        let outputs = self.outputs.iter().map(|(_, name)| name.clone()).collect();
        let block = Block { inputs: Vec::new(), outputs, operations };
        let opset = self.opset.name().to_owned();
        let block_specializations = BTreeMap::from([(opset.clone(), block)]);
        let function = Function { inputs: self.inputs, opset, block_specializations };
        Ok(BuiltFunction { opset: self.opset, description: self.description, function })
    }

    /// Begins an operator. Returns a bug-class error if the operator set does not have it.
    pub(super) fn op(&mut self, kind: &str) -> Result<Call<'_>> {
        if self.opset < Opset::Ios18 && SINCE_IOS18.contains(&kind) {
            return Err(Error::bug(format!("{} has no operator `{kind}`", self.opset)));
        }
        let name = self.unique(&self.wanted(kind));
        Ok(Call::new(self, kind, name))
    }

    /// Adds a constant, or returns the equal one that exists.
    pub(super) fn constant(&mut self, name: &str, value: Message, kind: TensorType) -> Value {
        let key = value.encode_to_vec();
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        let name = self.unique(name);
        let made = Call::new(self, "const", name).attribute("val", value);
        let made = made.makes(kind.data_type, kind.shape);
        self.constants.insert(key, made.clone());
        made
    }

    /// Adds an operator and its outputs.
    pub(super) fn push(
        &mut self,
        mut operation: Operation,
        outputs: Vec<(String, TensorType)>,
        origin: ValueOrigin,
    ) -> Vec<Rc<ValueInfo>> {
        let mut declared = Vec::new();
        for (name, kind) in outputs {
            let output = NamedValueType { name: name.clone(), kind: Some(kind.to_spec()) };
            operation.outputs.push(output);
            declared.push(self.declare(name, kind, origin));
        }
        self.operations.push(operation);
        declared
    }

    pub(super) fn owns(&self, declared: &ValueInfo) -> bool {
        Rc::ptr_eq(&self.name, &declared.owner)
    }

    pub(super) fn unique(&mut self, wanted: &str) -> String {
        self.names.unique(wanted)
    }

    fn wanted(&self, kind: &str) -> String {
        if self.scope.is_empty() { kind.to_owned() } else { format!("{}_{kind}", self.scope) }
    }

    fn take(&mut self, name: &str) -> Result<()> {
        if is_identifier(name) && self.names.take(name) {
            return Ok(());
        }
        Err(Error::bug(format!("`{name}` is taken or not an identifier")))
    }

    fn declare(&self, name: String, kind: TensorType, origin: ValueOrigin) -> Rc<ValueInfo> {
        Rc::new(ValueInfo { owner: self.name.clone(), name, kind, origin })
    }
}

fn described(name: &str, kind: FeatureType) -> FeatureDescription {
    FeatureDescription { name: name.into(), short_description: String::new(), kind: Some(kind) }
}

/// The type of an input or output, as the model's description gives it.
fn array(kind: &TensorType, name: &str) -> Result<ArrayFeatureType> {
    let data_type = match kind.data_type {
        DataType::Float16 => Some(ArrayDataType::Float16),
        DataType::Float32 => Some(ArrayDataType::Float32),
        DataType::Int32 => Some(ArrayDataType::Int32),
        _ => None,
    };
    match data_type {
        Some(data_type) if (1..=5).contains(&kind.shape.len()) && !kind.shape.contains(&0) => {
            let shape = kind.shape.iter().map(|len| *len as i64).collect();
            Ok(ArrayFeatureType { shape, data_type: data_type.into() })
        }
        _ => Err(Error::bug(format!("expected fp16, fp32 or int32 of rank 1 to 5, found {kind}"))
            .at(name)),
    }
}

/// Renames outputs where they are defined and where they are used.
fn rename(operation: &mut Operation, renamed: &HashMap<&str, &str>) {
    for output in &mut operation.outputs {
        if let Some(name) = renamed.get(output.name.as_str()) {
            output.name = (*name).to_owned();
        }
    }
    let bindings = operation.inputs.values_mut().flat_map(|argument| &mut argument.bindings);
    for bound in bindings.filter_map(|binding| binding.bound.as_mut()) {
        if let Bound::Name(used) = bound
            && let Some(name) = renamed.get(used.as_str())
        {
            *used = (*name).to_owned();
        }
    }
}
