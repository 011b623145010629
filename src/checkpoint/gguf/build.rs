//! Builds GGUF files byte by byte for tests: valid ones, and ones with a chosen false claim.

/// A metadata value with its exact stored type.
#[derive(Debug, Clone)]
pub(crate) enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    /// A type number and the bytes after it.
    Raw(u32, Vec<u8>),
}

impl Meta {
    pub fn text(text: &str) -> Self {
        Meta::Text(text.into())
    }

    fn write(&self, out: &mut Vec<u8>) {
        fn array(out: &mut Vec<u8>, kind: u32, len: usize) {
            out.extend(kind.to_le_bytes());
            out.extend((len as u64).to_le_bytes());
        }
        let kind: u32 = match self {
            Meta::U32(_) => 4,
            Meta::F32(_) => 6,
            Meta::Bool(_) => 7,
            Meta::Text(_) => 8,
            Meta::Texts(_) | Meta::F32s(_) | Meta::I32s(_) => 9,
            Meta::Raw(kind, _) => *kind,
        };
        out.extend(kind.to_le_bytes());
        match self {
            Meta::U32(value) => out.extend(value.to_le_bytes()),
            Meta::F32(value) => out.extend(value.to_le_bytes()),
            Meta::Bool(value) => out.push(u8::from(*value)),
            Meta::Text(value) => text(out, value),
            Meta::Texts(values) => {
                array(out, 8, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Meta::F32s(values) => {
                array(out, 6, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Meta::I32s(values) => {
                array(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Meta::Raw(_, bytes) => out.extend(bytes),
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// One tensor as it will be written.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub name: String,
    /// Innermost first, as in the file.
    pub dims: Vec<u64>,
    pub type_id: u32,
    /// The offset that the header claims; `None` for the true one.
    pub offset: Option<u64>,
    pub bytes: Vec<u8>,
}

/// The contents of a GGUF file. Any field can be made false before [`GgufFile::bytes`].
#[derive(Debug, Clone)]
pub(crate) struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub key_count: Option<u64>,
    pub alignment: usize,
    pub metadata: Vec<(String, Meta)>,
    pub tensors: Vec<Tensor>,
}

impl GgufFile {
    /// A llama of one block: 2 query heads and 1 key/value head of 4, hidden 8, MLP 32, 3 tokens.
    /// `down` is q8_0, everything else f32; the weights count up from 0.
    pub fn llama() -> Self {
        Self::of("llama")
    }

    /// A file of the same sizes for any architecture.
    pub fn of(architecture: &str) -> Self {
        let mut file = GgufFile {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            alignment: 32,
            metadata: vec![("general.architecture".into(), Meta::text(architecture))],
            tensors: Vec::new(),
        };
        for (key, value) in [
            ("block_count", 1),
            ("context_length", 64),
            ("embedding_length", 8),
            ("feed_forward_length", 32),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
        ] {
            file.set(&format!("{architecture}.{key}"), Meta::U32(value));
        }
        file.set(&format!("{architecture}.attention.layer_norm_rms_epsilon"), Meta::F32(1e-5));
        file.float("token_embd.weight", &[8, 3]);
        file.float("output_norm.weight", &[8]);
        for (part, dims) in [
            ("attn_norm", &[8][..]),
            ("attn_q", &[8, 8]),
            ("attn_k", &[8, 4]),
            ("attn_v", &[8, 4]),
            ("attn_output", &[8, 8]),
            ("ffn_norm", &[8]),
            ("ffn_gate", &[8, 32]),
            ("ffn_up", &[8, 32]),
        ] {
            file.float(&format!("blk.0.{part}.weight"), dims);
        }
        let bytes = vec![1; 8 * 34];
        file.tensors.push(Tensor {
            name: "blk.0.ffn_down.weight".into(),
            dims: vec![32, 8],
            type_id: 8,
            offset: None,
            bytes,
        });
        file
    }

    /// Adds an f32 tensor whose weights count up from 0.
    pub fn float(&mut self, name: &str, dims: &[u64]) {
        let len: u64 = dims.iter().product();
        let bytes = (0..len).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let (name, dims) = (name.to_owned(), dims.to_vec());
        self.tensors.push(Tensor { name, dims, type_id: 0, offset: None, bytes });
    }

    /// Sets or adds a key.
    pub fn set(&mut self, key: &str, value: Meta) {
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.into(), value)),
        }
    }

    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|(k, _)| k != key);
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).expect("a tensor of that name")
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut out, key);
            value.write(&mut out);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            text(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.type_id.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(self.alignment);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.bytes);
        }
        out
    }
}
