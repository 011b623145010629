//! Short convolutions over a cache of the last inputs.

use super::body::FunctionBody;
use super::design::Compute;
use super::weights::HalfVector;
use crate::checkpoint::config::ShortConv;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::package::mil::Value;
use crate::package::spec::DataType;

/// The last inputs of the convolutions of a function. They are an input and an output, and not a state,
/// because packages with three or more states fail on the Neural Engine.
pub(super) struct ConvContext {
    conv: ShortConv,
    cache: Value,
    new: Vec<Value>,
}

impl ConvContext {
    /// Declares the input for `layers` convolutions.
    pub fn new(body: &mut FunctionBody<'_>, layers: usize) -> Result<Self> {
        let conv = body.config.conv;
        let conv = conv.ok_or_else(|| Error::bug("a convolution without a kernel"))?;
        let shape = [layers, body.config.hidden_size, conv.kernel_tokens - 1];
        let cache = body.f.input("conv_cache", DataType::Float16, &shape)?;
        Ok(ConvContext { conv, cache, new: Vec::new() })
    }

    /// The convolution of `layer`. `x` are normed hidden states; the caller adds the residual.
    pub fn convolve(
        &mut self,
        body: &mut FunctionBody<'_>,
        x: &Value,
        layer: usize,
    ) -> Result<Value> {
        let hidden = body.config.hidden_size;
        let of = |role| TensorId::block(layer, role);
        let all = body.project(x, of(Role::ConvInput))?;
        let axis = body.channel_axis();
        let parts = body.f.split(&all, &[hidden; 3], axis)?;
        let gated = body.f.mul(&parts[0], &parts[2])?;
        let padded = self.extend(body, &gated)?;
        let kernels = body.emit(of(Role::ConvKernel))?;
        let [(kernel, _)] = kernels.as_slice() else {
            return Err(Error::bug("a kernel is stored in several parts"));
        };
        let mut sum: Option<Value> = None;
        for tap in 0..self.conv.kernel_tokens {
            let weights = body.f.slice_by_index(&kernel.weight, &[0, tap], &[hidden, tap + 1])?;
            let weights = match body.design.compute {
                Compute::Gpu => body.f.reshape(&weights, &[hidden])?,
                Compute::Ane => body.f.reshape(&weights, &[1, hidden, 1, 1])?,
            };
            let given = tokens_of(body, &padded, tap, tap + body.tokens)?;
            let term = body.f.mul(&given, &weights)?;
            sum = Some(match sum {
                Some(sum) => body.f.add(&sum, &term)?,
                None => term,
            });
        }
        let mut y = sum.ok_or_else(|| Error::bug("a kernel without taps"))?;
        if self.conv.bias {
            let bias = HalfVector::Tensor(of(Role::ConvKernel).with_bias());
            let bias = body.per_channel(bias, hidden)?;
            y = body.f.add(&y, &bias)?;
        }
        let y = body.f.mul(&y, &parts[1])?;
        body.project(&y, of(Role::ConvOutput))
    }

    /// The inputs of earlier tokens and those of this call. The last ones are kept for the next call.
    fn extend(&mut self, body: &mut FunctionBody<'_>, gated: &Value) -> Result<Value> {
        let (index, past) = (self.new.len(), self.conv.kernel_tokens - 1);
        let hidden = body.config.hidden_size;
        let cached =
            body.f.slice_by_index(&self.cache, &[index, 0, 0], &[index + 1, hidden, past])?;
        let (cached, axis) = match body.design.compute {
            Compute::Gpu => (body.f.transpose(&cached, &[0, 2, 1])?, 1),
            Compute::Ane => (body.f.expand_dims(&cached, &[2])?, 3),
        };
        let padded = body.f.concat(&[&cached, gated], axis)?;
        let last = tokens_of(body, &padded, body.tokens, body.tokens + past)?;
        self.new.push(match body.design.compute {
            Compute::Gpu => body.f.transpose(&last, &[0, 2, 1])?,
            Compute::Ane => body.f.squeeze(&last, &[2])?,
        });
        Ok(padded)
    }

    /// Adds the output with the inputs to keep.
    pub fn finish(self, body: &mut FunctionBody<'_>) -> Result<()> {
        let new: Vec<&Value> = self.new.iter().collect();
        let all = body.f.concat(&new, 0)?;
        body.f.output(&all, "new_conv_cache")
    }
}

/// The tokens from `first` to `end` of states.
fn tokens_of(body: &mut FunctionBody<'_>, x: &Value, first: usize, end: usize) -> Result<Value> {
    let axis = match body.design.compute {
        Compute::Gpu => 1,
        Compute::Ane => 3,
    };
    let (mut begin, mut last) = (vec![0; x.rank()], x.shape().to_vec());
    (begin[axis], last[axis]) = (first, end);
    body.f.slice_by_index(x, &begin, &last)
}
