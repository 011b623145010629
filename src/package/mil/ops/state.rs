//! Buffers that stay between calls.

use crate::error::Result;
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::value::{State, Value};

impl FunctionBuilder {
    /// What a state holds when the function is called. Read each state once and go on from what
    /// [`update_state`](Self::update_state) gives: passes of coremltools take two plain reads of a
    /// state for the same value, even with a write between them.
    pub fn read_state(&mut self, state: &State) -> Result<Value> {
        let call = self.op("read_state")?.state("input", state)?;
        Ok(call.makes(state.kind().data_type, state.kind().shape.clone()))
    }

    /// Writes all of a state and reads it back: the pair that runtimes take for an update in place.
    /// Fails (bug) when `data` is of another type or shape.
    pub fn update_state(&mut self, state: &State, data: &Value) -> Result<Value> {
        self.write_state(state, data)?;
        self.read_state(state)
    }

    /// Writes all of a state. Fails (bug) when `data` is of another type or shape.
    pub fn write_state(&mut self, state: &State, data: &Value) -> Result<()> {
        let call = self.op("write_state")?.state("input", state)?.value("data", data)?;
        call.check(data.kind() == state.kind(), "data", state.kind(), data.kind())?.makes_nothing();
        Ok(())
    }
}
