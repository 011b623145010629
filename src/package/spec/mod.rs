//! The protobuf messages of an ML Program: the subset that evalkit writes and reads, with the field
//! numbers of the `.proto` files of coremltools.
//!
//! Maps are ordered, so that the same program always has the same bytes. The reader ignores fields
//! that are not listed.

mod mil;
mod model;

pub use mil::*;
pub use model::*;

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn field_numbers_are_those_of_the_format() {
        let value = Value {
            kind: Some(ValueType {
                of: Some(TypeOf::State(Box::new(StateType {
                    wrapped: Some(Box::new(ValueType {
                        of: Some(TypeOf::Tensor(TensorType {
                            data_type: DataType::Float16.into(),
                            rank: 1,
                            dimensions: vec![Dimension {
                                constant: Some(ConstantDimension { size: 3 }),
                                unknown: None,
                            }],
                        })),
                    })),
                }))),
            }),
            content: Some(Content::Blob(BlobFileValue { file_name: "w".into(), offset: 64 })),
        };
        // Written by hand from the field numbers: 2:{5:{1:{1:{1:10, 2:1, 3:{1:{1:3}}}}}}, 5:{1:"w",
        // 2:64}.
        let tensor = [8, 10, 16, 1, 26, 4, 10, 2, 8, 3];
        let mut expected = vec![18, 16, 42, 14, 10, 12, 10, 10];
        expected.extend(tensor);
        expected.extend([42, 5, 10, 1, b'w', 16, 64]);
        assert_eq!(value.encode_to_vec(), expected);
        assert_eq!(Value::decode(expected.as_slice()).ok(), Some(value));
    }
}
