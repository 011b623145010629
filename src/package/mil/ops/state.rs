//! Buffers that stay between calls.

use crate::error::Result;
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::value::{State, Value};

impl FunctionBuilder {
    /// What a state holds now. Read it once and go on from what was written last: coremltools
    /// takes two reads of one state for the same value, even with a write between them.
    pub fn read_state(&mut self, state: &State) -> Result<Value> {
        let call = self.op("read_state")?.state("input", state)?;
        Ok(call.makes(state.kind().data_type, state.kind().shape.clone()))
    }

    /// Writes all of a state. Fails (bug) when `data` is of another type or shape.
    pub fn write_state(&mut self, state: &State, data: &Value) -> Result<()> {
        let call = self.op("write_state")?.state("input", state)?.value("data", data)?;
        call.check(data.kind() == state.kind(), "data", state.kind(), data.kind())?.makes_nothing();
        Ok(())
    }
}
