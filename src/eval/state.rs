//! A walk's state between two layers, as a file: what lets an interrupted walk go on.
//!
//! Layout, little endian: magic, format version, key (32 bytes), next layer, lanes; per lane the
//! hash of its codes, its failure or, per window, its hidden states as f32 and where its tokens went
//! in each layer so far; then a blake3 hash of all before.
//! The key says which walk it belongs to; a state of another walk, or a damaged one, is ignored.

use std::io::{self, Read, Write};
use std::path::Path;

use candle_core::Device;

use super::divergence::LayerRouting;
use super::lane::{Cause, Lane, Resumed};
use super::protocol::Window;
use super::variant::Variant;
use crate::checkpoint::config::Config;
use crate::error::{Error, Result};
use crate::model;

const MAGIC: &[u8; 8] = b"evalwalk";
const VERSION: u32 = 2;
/// Longest failure text that is read back, in bytes.
const MAX_TEXT_BYTES: u32 = 1 << 16;

/// Borrowed state, for writing.
pub struct State<'a> {
    /// The first layer that is still to be walked.
    pub next_layer: usize,
    /// Every lane.
    pub lanes: &'a [Lane],
}

/// Passes everything on and hashes it.
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}

impl State<'_> {
    /// Writes the state to `out`.
    ///
    /// # Errors
    /// Those of `out`; hidden states that cannot be read from the device.
    pub fn write(&self, key: &[u8; 32], out: &mut dyn Write) -> io::Result<()> {
        let mut out = Hashing { inner: out, hasher: blake3::Hasher::new() };
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(key)?;
        out.write_all(&(self.next_layer as u32).to_le_bytes())?;
        out.write_all(&(self.lanes.len() as u32).to_le_bytes())?;
        for lane in self.lanes {
            out.write_all(&lane.coded)?;
            let texts = lane.failure.as_ref().map(|cause| [&cause.what, &cause.hint]);
            out.write_all(&[u8::from(texts.is_some())])?;
            for text in texts.into_iter().flatten() {
                out.write_all(&(text.len() as u32).to_le_bytes())?;
                out.write_all(text.as_bytes())?;
            }
            for (window, hidden) in lane.hidden.iter().enumerate() {
                let written =
                    model::with_values(hidden, |v| out.write_all(bytemuck::cast_slice(v)));
                written.map_err(io::Error::other)??;
                for layer in lane.routing.get(window).into_iter().flatten() {
                    out.write_all(&layer.agree.to_le_bytes())?;
                    out.write_all(bytemuck::cast_slice(&layer.load))?;
                }
            }
        }
        let hash = out.hasher.finalize();
        out.inner.write_all(hash.as_bytes())
    }
}

/// Reads the state of the walk `key` back; nothing where there is none, where it belongs to
/// another walk, or where it is damaged.
///
/// # Errors
/// Bug-class errors from candle.
pub fn read(
    path: &Path,
    key: &[u8; 32],
    variants: &[Variant],
    windows: &[Window],
    config: &Config,
    device: &Device,
) -> Result<Option<Resumed>> {
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    let mut reader = StateReader {
        input: Hashing { inner: io::BufReader::new(file), hasher: blake3::Hasher::new() },
        config,
        device,
    };
    match reader.read(key, variants, windows) {
        Ok(resumed) => Ok(Some(resumed)),
        Err(StateError::Unusable) => Ok(None),
        Err(StateError::Failed(error)) => Err(error),
    }
}

enum StateError {
    Unusable,
    Failed(Error),
}

impl From<io::Error> for StateError {
    fn from(_: io::Error) -> Self {
        StateError::Unusable
    }
}

struct StateReader<'a, R> {
    input: Hashing<R>,
    config: &'a Config,
    device: &'a Device,
}

impl<R: Read> StateReader<'_, R> {
    fn read(
        &mut self,
        key: &[u8; 32],
        variants: &[Variant],
        windows: &[Window],
    ) -> Result<Resumed, StateError> {
        let is_ours = self.array::<8>()? == *MAGIC
            && self.number()? == VERSION
            && self.array::<32>()? == *key;
        if !is_ours {
            return Err(StateError::Unusable);
        }
        let next_layer = self.number()? as usize;
        let lanes_kept = self.number()? as usize;
        if next_layer > self.config.layers || lanes_kept != variants.len() + 1 {
            return Err(StateError::Unusable);
        }
        let reference = Variant::reference();
        let mut lanes = Vec::with_capacity(variants.len() + 1);
        for variant in std::iter::once(&reference).chain(variants) {
            lanes.push(self.lane(variant.clone(), windows, next_layer)?);
        }
        let hash = self.input.hasher.finalize();
        if self.array::<32>()? != *hash.as_bytes() {
            return Err(StateError::Unusable);
        }
        Ok(Resumed { next_layer, lanes })
    }

    fn lane(
        &mut self,
        variant: Variant,
        windows: &[Window],
        layers: usize,
    ) -> Result<Lane, StateError> {
        let mut lane = Lane::new(variant);
        lane.coded = self.array()?;
        if self.array::<1>()? != [0] {
            lane.failure = Some(Cause { what: self.text()?, hint: self.text()? });
            return Ok(lane);
        }
        for window in windows {
            let shape = [window.ids.len(), self.config.hidden_size];
            let mut values = vec![0.0f32; shape[0] * shape[1]];
            self.input.read_exact(bytemuck::cast_slice_mut(&mut values))?;
            let hidden = model::matrix(values, shape, self.device).map_err(StateError::Failed)?;
            lane.hidden.push(hidden);
            let Some(experts) = &self.config.experts else { continue };
            let mut routing = Vec::with_capacity(layers);
            for _ in 0..layers {
                let agree = self.number()?;
                let mut load = vec![0u32; experts.count];
                self.input.read_exact(bytemuck::cast_slice_mut(&mut load))?;
                routing.push(LayerRouting { agree, load });
            }
            lane.routing.push(routing);
        }
        Ok(lane)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, StateError> {
        let len = self.number()?;
        if len > MAX_TEXT_BYTES {
            return Err(StateError::Unusable);
        }
        let mut bytes = vec![0; len as usize];
        self.input.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| StateError::Unusable)
    }
}
