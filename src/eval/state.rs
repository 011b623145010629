//! A walk's state between two layers as a file, from which an interrupted walk continues.
//!
//! Layout, little endian: magic, format version, key (32 bytes), next layer, lanes; per lane the
//! hash of its codes, the scales of its int8 inputs (layer, or 0xffffffff for the head; input; fp16),
//! and either its failure or, per window, its hidden states as f32, its first activation beyond fp16
//! (layer, or 0xffffffff if there is none; activation; magnitude as f32), and the routing of its
//! tokens in each finished layer that is a mixture of experts (none for calibration windows, which come last). A blake3 hash of
//! everything before it ends the file. The key identifies the walk; the state of another walk, or a
//! damaged one, is ignored.

use std::io::{self, Read, Write};
use std::path::Path;

use half::f16;

use super::divergence::LayerRouting;
use super::fp16_range::Fp16Overflow;
use super::lane::{Cause, Lane, Resumed};
use super::setting::Walk;
use super::variant::Variant;
use crate::error::{Error, Result};
use crate::files::open_regular;
use crate::model::{self, Activation, Input};

const MAGIC: &[u8; 8] = b"evalwalk";
const VERSION: u32 = 4;
/// Stands for the layer of the head's input, which belongs to none.
const NO_LAYER: u32 = u32::MAX;
/// Longest failure text that is read back, in bytes.
const MAX_TEXT_BYTES: u32 = 1 << 16;

/// A walk's state, borrowed for writing.
pub struct State<'a> {
    /// The first layer that has not been walked yet.
    pub next_layer: usize,
    /// Every lane.
    pub lanes: &'a [Lane],
}

/// Hashes everything that is read or written through it.
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
    /// Those of `out`, and of reading hidden states from the device.
    pub fn write(&self, key: &[u8; 32], out: &mut dyn Write) -> io::Result<()> {
        let mut out = Hashing { inner: out, hasher: blake3::Hasher::new() };
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(key)?;
        out.write_all(&(self.next_layer as u32).to_le_bytes())?;
        out.write_all(&(self.lanes.len() as u32).to_le_bytes())?;
        for lane in self.lanes {
            out.write_all(&lane.coded)?;
            out.write_all(&(lane.scales.iter().len() as u32).to_le_bytes())?;
            for (layer, input, scale) in lane.scales.iter() {
                out.write_all(&layer.map_or(NO_LAYER, |layer| layer as u32).to_le_bytes())?;
                out.write_all(&[input as u8])?;
                out.write_all(&scale.to_le_bytes())?;
            }
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
                let overflow = lane.overflows.get(window).copied().flatten();
                let layer = overflow.and_then(|overflow| overflow.layer);
                out.write_all(&layer.map_or(NO_LAYER, |layer| layer as u32).to_le_bytes())?;
                let (of, magnitude) = overflow.map_or((0, 0.0), |o| (o.of as u8, o.magnitude));
                out.write_all(&[of])?;
                out.write_all(&magnitude.to_le_bytes())?;
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

/// Reads the saved state of `walk`, which `key` identifies; `None` if there is none, if it belongs to
/// another walk, or if it is damaged.
///
/// # Errors
/// Bug-class errors from candle.
pub fn read(path: &Path, key: &[u8; 32], walk: &Walk<'_>) -> Result<Option<Resumed>> {
    let Ok((file, _)) = open_regular("read", path) else { return Ok(None) };
    let input = Hashing { inner: io::BufReader::new(file), hasher: blake3::Hasher::new() };
    match (StateReader { input, walk }).read(key) {
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
    walk: &'a Walk<'a>,
}

impl<R: Read> StateReader<'_, R> {
    fn read(&mut self, key: &[u8; 32]) -> Result<Resumed, StateError> {
        let is_ours = self.array::<8>()? == *MAGIC
            && self.number()? == VERSION
            && self.array::<32>()? == *key;
        if !is_ours {
            return Err(StateError::Unusable);
        }
        let next_layer = self.number()? as usize;
        let lane_count = self.number()? as usize;
        let (layers, variants) = (self.walk.checkpoint.config.layers, self.walk.variants);
        if next_layer > layers || lane_count != variants.len() + 1 {
            return Err(StateError::Unusable);
        }
        let reference = Variant::reference();
        let mut lanes = Vec::with_capacity(variants.len() + 1);
        for variant in std::iter::once(&reference).chain(variants) {
            lanes.push(self.lane(variant.clone(), next_layer)?);
        }
        let hash = self.input.hasher.finalize();
        if self.array::<32>()? != *hash.as_bytes() {
            return Err(StateError::Unusable);
        }
        Ok(Resumed { next_layer, lanes })
    }

    fn lane(&mut self, variant: Variant, layers: usize) -> Result<Lane, StateError> {
        let (walk, config) = (self.walk, &self.walk.checkpoint.config);
        let mut lane = Lane::new(variant);
        lane.coded = self.array()?;
        for _ in 0..self.number()? {
            let layer = Some(self.number()?).filter(|layer| *layer != NO_LAYER);
            let [input] = self.array()?;
            let input = Input::ALL.get(usize::from(input)).ok_or(StateError::Unusable)?;
            let scale = f16::from_le_bytes(self.array()?);
            lane.scales.insert(layer.map(|layer| layer as usize), *input, scale);
        }
        if self.array::<1>()? != [0] {
            lane.failure = Some(Cause { what: self.text()?, hint: self.text()? });
            return Ok(lane);
        }
        let variant = lane.variant.clone();
        for (index, window) in walk.windows_of(&variant).enumerate() {
            let shape = [window.ids.len(), config.hidden_size];
            let mut values = vec![0.0f32; shape[0] * shape[1]];
            self.input.read_exact(bytemuck::cast_slice_mut(&mut values))?;
            let hidden = model::matrix(values, shape, walk.device).map_err(StateError::Failed)?;
            lane.hidden.push(hidden);
            let overflow = self.overflow()?;
            lane.overflows.push(overflow);
            let Some(experts) = config.experts.as_ref().filter(|_| index < walk.windows.len())
            else {
                continue;
            };
            let mixtures = (0..layers).filter(|layer| config.mixture(*layer).is_some());
            let mut routing = Vec::new();
            for _ in mixtures {
                let agree = self.number()?;
                let mut load = vec![0u32; experts.count];
                self.input.read_exact(bytemuck::cast_slice_mut(&mut load))?;
                routing.push(LayerRouting { agree, load });
            }
            lane.routing.push(routing);
        }
        Ok(lane)
    }

    fn overflow(&mut self) -> Result<Option<Fp16Overflow>, StateError> {
        let layer = self.number()?;
        let ([of], magnitude) = (self.array()?, f32::from_le_bytes(self.array()?));
        let of = *Activation::ALL.get(usize::from(of)).ok_or(StateError::Unusable)?;
        let layer = Some(layer as usize);
        Ok((layer != Some(NO_LAYER as usize)).then_some(Fp16Overflow { layer, of, magnitude }))
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
