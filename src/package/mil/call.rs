//! An operator under construction: its arguments are checked and bound.

use std::fmt::Display;
use std::rc::Rc;

use half::f16;

use super::function::FunctionBuilder;
use super::literal::Literal;
use super::types::{TensorType, type_name};
use super::value::{StateBuffer, Value, ValueInfo, ValueOrigin};
use crate::error::{Error, Result};
use crate::package::spec::{Argument, Binding, Bound, DataType, Operation, Value as Message};

/// fp16 and fp32.
pub(super) const FLOATS: &[DataType] = &[DataType::Float16, DataType::Float32];
/// The types that arithmetic operators take.
pub(super) const NUMBERS: &[DataType] = &[DataType::Float16, DataType::Float32, DataType::Int32];

/// An operator under construction. Bind every parameter, then say what the result is.
pub(super) struct Call<'f> {
    function: &'f mut FunctionBuilder,
    operation: Operation,
    name: String,
}

impl<'f> Call<'f> {
    pub(super) fn new(function: &'f mut FunctionBuilder, kind: &str, name: String) -> Self {
        let operation = Operation { kind: kind.to_owned(), ..Operation::default() };
        Call { function, operation, name }
    }

    /// The error for a parameter that does not fit: a bug in the caller.
    pub(super) fn refuse(
        &self,
        parameter: &str,
        expected: impl Display,
        found: impl Display,
    ) -> Error {
        Error::bug(format!("parameter `{parameter}`: expected {expected}, found {found}"))
            .at(format!("{} {}", self.operation.kind, self.name))
    }

    /// Returns the error for the parameter unless `fits`.
    pub(super) fn check(
        self,
        fits: bool,
        parameter: &str,
        expected: impl Display,
        found: impl Display,
    ) -> Result<Self> {
        if fits { Ok(self) } else { Err(self.refuse(parameter, expected, found)) }
    }

    /// Binds a value.
    pub(super) fn value(self, parameter: &str, value: &Value) -> Result<Self> {
        self.values(parameter, &[value])
    }

    /// Binds a value that must have one of these types.
    pub(super) fn typed(self, parameter: &str, value: &Value, types: &[DataType]) -> Result<Self> {
        let fits = types.contains(&value.data_type());
        let expected = || types.iter().map(|t| type_name(*t)).collect::<Vec<_>>().join(" or ");
        if fits {
            self.value(parameter, value)
        } else {
            Err(self.refuse(parameter, expected(), value.kind()))
        }
    }

    /// Binds a value that must be a constant of type `of`.
    pub(super) fn constant(self, parameter: &str, value: &Value, of: DataType) -> Result<Self> {
        let found = format!("{} `{}`, the result of an operator", value.kind(), value.name());
        self.check(value.is_constant(), parameter, "a constant", found)?.typed(
            parameter,
            value,
            &[of],
        )
    }

    /// Binds a list of values.
    pub(super) fn values(mut self, parameter: &str, values: &[&Value]) -> Result<Self> {
        let foreign = values.iter().find(|value| !self.function.owns(&value.0));
        if let Some(value) = foreign {
            let found = format!("`{}` of function `{}`", value.name(), value.0.owner);
            return Err(self.refuse(parameter, "a value of this function", found));
        }
        let bound = values.iter().map(|value| Bound::Name(value.name().to_owned()));
        self.bind(parameter, bound.collect());
        Ok(self)
    }

    /// Binds a state.
    pub(super) fn state(mut self, parameter: &str, state: &StateBuffer) -> Result<Self> {
        if !self.function.owns(&state.0) {
            let found = format!("`{}` of function `{}`", state.name(), state.0.owner);
            return Err(self.refuse(parameter, "a state of this function", found));
        }
        self.bind(parameter, vec![Bound::Name(state.name().to_owned())]);
        Ok(self)
    }

    /// Binds a constant that is written into the program.
    pub(super) fn literal(mut self, parameter: &str, literal: Literal) -> Self {
        let name = format!("{}_{parameter}", self.name);
        let value = self.function.constant(&name, literal.to_spec(), literal.kind());
        self.bind(parameter, vec![Bound::Name(value.name().to_owned())]);
        self
    }

    /// Binds a number as a constant of a floating type. Returns an error if it becomes 0 or
    /// infinite in that type.
    pub(super) fn float(self, parameter: &str, number: f32, of: DataType) -> Result<Self> {
        let half = f16::from_f32(number);
        let (held, literal) = match of {
            DataType::Float32 => (number, Literal::Float32(number)),
            _ => (half.to_f32(), Literal::Float16(half)),
        };
        let fits = held.is_finite() && (held != 0.0 || number == 0.0);
        let expected = format!("a number that {} can hold", type_name(of));
        Ok(self.check(fits, parameter, expected, number)?.literal(parameter, literal))
    }

    /// Binds a value that is written into the operator itself, as `constexpr_*` require.
    pub(super) fn inline(mut self, parameter: &str, value: Message) -> Self {
        self.bind(parameter, vec![Bound::Value(value)]);
        self
    }

    /// Sets an attribute, as the `constexpr_*` of iOS 16 require.
    pub(super) fn attribute(mut self, name: &str, value: Message) -> Self {
        self.operation.attributes.insert(name.to_owned(), value);
        self
    }

    fn bind(&mut self, parameter: &str, bound: Vec<Bound>) {
        let bindings = bound.into_iter().map(|bound| Binding { bound: Some(bound) }).collect();
        self.operation.inputs.insert(parameter.to_owned(), Argument { bindings });
    }

    /// Adds the operator. It has one result of this type.
    pub(super) fn makes(self, data_type: DataType, shape: impl Into<Vec<usize>>) -> Value {
        let kind = TensorType::new(data_type, shape);
        let name = self.name.clone();
        Value(self.add(vec![(name, kind)]).remove(0))
    }

    /// Adds the operator. It has several results.
    pub(super) fn makes_all(self, kinds: Vec<TensorType>) -> Vec<Value> {
        let mut outputs = Vec::new();
        for (i, kind) in kinds.into_iter().enumerate() {
            let name = self.function.unique(&format!("{}_{i}", self.name));
            outputs.push((name, kind));
        }
        self.add(outputs).into_iter().map(Value).collect()
    }

    /// Adds the operator. It has no results.
    pub(super) fn makes_nothing(self) {
        self.add(Vec::new());
    }

    fn add(mut self, outputs: Vec<(String, TensorType)>) -> Vec<Rc<ValueInfo>> {
        let name = Literal::Text(&self.name).to_spec();
        self.operation.attributes.insert("name".to_owned(), name);
        let constant = self.operation.kind.starts_with("const");
        let origin = if constant { ValueOrigin::Constant } else { ValueOrigin::Operator };
        self.function.push(self.operation, outputs, origin)
    }
}
