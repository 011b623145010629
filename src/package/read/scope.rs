//! Checks static single assignment: every value of a function has a unique name and one type, is
//! defined once, and is defined before it is used.

use std::collections::BTreeMap;

use super::literal::DeclaredType;
use crate::error::{At, Error, Result};
use crate::package::spec::{Block, Bound, Function, NamedValueType, Operation};

/// Blocks that are nested more deeply are refused.
const MAX_DEPTH: usize = 16;

/// The types of all values of a function, by name.
pub(super) type Scope = BTreeMap<String, DeclaredType>;

/// Checks `function` with the body `block`. Returns the types of all its values.
pub(super) fn check(function: &Function, block: &Block) -> Result<Scope> {
    let mut scope = Scope::new();
    for input in &function.inputs {
        define(&mut scope, input)?;
    }
    check_block(&mut scope, block, 0)?;
    Ok(scope)
}

fn check_block(scope: &mut Scope, block: &Block, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::input(format!("blocks are nested more than {MAX_DEPTH} deep")));
    }
    for input in &block.inputs {
        define(scope, input)?;
    }
    for operation in &block.operations {
        check_operation(scope, operation, depth).at(|| title(operation))?;
    }
    let missing = block.outputs.iter().find(|name| !scope.contains_key(*name));
    missing.map_or(Ok(()), |name| Err(Error::input(format!("output `{name}` is never defined"))))
}

fn check_operation(scope: &mut Scope, operation: &Operation, depth: usize) -> Result<()> {
    for (parameter, argument) in &operation.inputs {
        for binding in &argument.bindings {
            match &binding.bound {
                Some(Bound::Name(name)) if !scope.contains_key(name) => {
                    return Err(Error::input(format!(
                        "{parameter}: the value `{name}` is not defined before it is used"
                    )));
                }
                Some(_) => {}
                None => return Err(Error::input(format!("{parameter} is bound to nothing"))),
            }
        }
    }
    for block in &operation.blocks {
        check_block(scope, block, depth + 1)?;
    }
    operation.outputs.iter().try_for_each(|output| define(scope, output))
}

fn define(scope: &mut Scope, value: &NamedValueType) -> Result<()> {
    let name = &value.name;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '@';
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(is_name) {
        return Err(Error::input(format!(
            "{name:?} is not a name of the form [A-Za-z_][A-Za-z0-9_@]*"
        )));
    }
    let kind = DeclaredType::of(value.kind.as_ref()).at(|| format!("value {name}"))?;
    match scope.insert(name.clone(), kind) {
        None => Ok(()),
        Some(_) => Err(Error::input(format!("the value `{name}` is defined twice"))),
    }
}

/// The name of an operation in messages: its first output and its operator.
pub(crate) fn title(operation: &Operation) -> String {
    match operation.outputs.first() {
        Some(output) => format!("{} ({})", output.name, operation.kind),
        None => operation.kind.clone(),
    }
}
