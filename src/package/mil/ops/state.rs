//! Operators that read and write states.

use crate::error::Result;
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::value::{StateBuffer, Value};

impl FunctionBuilder {
    /// The content of a state. Read a state once at the start, and again only directly after
    /// [`write_state`](Self::write_state): runtimes recognise a write followed by a read as an
    /// update in place, and coremltools takes any two other reads for the same value, even with a
    /// write between them.
    pub fn read_state(&mut self, state: &StateBuffer) -> Result<Value> {
        let call = self.op("read_state")?.state("input", state)?;
        Ok(call.makes(state.kind().data_type, state.kind().shape.clone()))
    }

    /// Replaces the content of a state. Returns a bug-class error if `data` does not have its type
    /// and shape.
    pub fn write_state(&mut self, state: &StateBuffer, data: &Value) -> Result<()> {
        let call = self.op("write_state")?.state("input", state)?.value("data", data)?;
        call.check(data.kind() == state.kind(), "data", state.kind(), data.kind())?.makes_nothing();
        Ok(())
    }
}
