//! Tensors in the weight file, as a program refers to them.

use super::types::{Opset, TensorType};
use crate::error::{Error, Result};
use crate::package::blob::{BlobRef, BlobType, FILE_NAME};
use crate::package::spec::{BlobFileValue, Content, Value as Message};

/// A blob of the weight file with the shape that the program gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobTensor {
    /// The blob with its elements.
    pub blob: BlobRef,
    /// The length of every axis.
    pub shape: Vec<usize>,
}

impl BlobTensor {
    /// The elements of `blob` as a tensor of `shape`.
    pub fn new(blob: BlobRef, shape: impl Into<Vec<usize>>) -> Self {
        BlobTensor { blob, shape: shape.into() }
    }

    /// Its type.
    pub fn kind(&self) -> TensorType {
        TensorType::new(self.blob.kind.data_type(), self.shape.clone())
    }

    /// The protobuf message. Returns a bug-class error if the shape does not have the number of
    /// elements of the blob, or if the operator set does not support the type.
    pub(super) fn to_spec(&self, opset: Opset) -> Result<Message> {
        use BlobType::{Float16, Float32, Int8, Uint8};
        let kind = self.kind();
        if kind.elements() != Some(self.blob.elements) {
            let found = self.blob.elements;
            return Err(Error::bug(format!(
                "expected a blob with the elements of {kind}, found one of {found}"
            )));
        }
        let is_old = matches!(self.blob.kind, Float16 | Float32 | Int8 | Uint8);
        if opset < Opset::Ios18 && !is_old {
            return Err(Error::bug(format!("{opset} does not support weights of type {kind}")));
        }
        let blob = BlobFileValue { file_name: FILE_NAME.into(), offset: self.blob.offset };
        Ok(Message { kind: Some(kind.to_spec()), content: Some(Content::Blob(blob)) })
    }
}
