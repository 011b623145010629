//! Activation functions, in place on the CPU.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor};
use pulp::Arch;

use super::{exp, slice, slice_mut, swiglu};
use crate::checkpoint::config::Activation;
use crate::model::backend::has_own_operations;

/// `2 · sqrt(2 / π)`, in the approximation of GELU.
const GELU_SLOPE: f32 = 1.595_769_2;
/// The factor of the cube in the approximation of GELU.
const GELU_CUBE: f32 = 0.044_715;

/// xIELU's β and ε, which all checkpoints have (transformers, `XIELUActivation`).
const XIELU_BETA: f32 = 0.5;
const XIELU_EPS: f32 = -1e-6;

/// An activation function with its learned numbers.
#[derive(Debug, Clone, Copy)]
pub struct ActivationFunction {
    /// The function.
    pub kind: Activation,
    /// xIELU's factors for positive and negative inputs.
    pub xielu: [f32; 2],
}

impl ActivationFunction {
    /// A function without learned numbers.
    #[cfg(test)]
    pub fn plain(kind: Activation) -> Self {
        ActivationFunction { kind, xielu: [0.0; 2] }
    }

    /// xIELU's factors of its stored numbers: `softplus(p)` and `β + softplus(n)`.
    pub fn xielu_factors([positive, negative]: [f32; 2]) -> [f32; 2] {
        let softplus = |x: f32| f64::from(x).exp().ln_1p() as f32;
        [softplus(positive), XIELU_BETA + softplus(negative)]
    }

    /// The function of each element of `x`. The result replaces `x`.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn of(self, x: Tensor) -> Result<Tensor> {
        if has_own_operations(x.device()) {
            x.inplace_op1(&self)?;
            return Ok(x);
        }
        self.differentiable(&x)
    }

    /// The same in operations that candle's autograd knows.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn differentiable(self, x: &Tensor) -> Result<Tensor> {
        match self.kind {
            Activation::Silu | Activation::ClampedSwiGlu { .. } => x.silu(),
            Activation::Gelu => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::ReluSquared => x.relu()?.sqr(),
            Activation::Xielu => {
                let [positive, negative] = self.xielu.map(f64::from);
                let linear = (x * f64::from(XIELU_BETA))?;
                let above = (x.relu()?.sqr()? * positive)?;
                let low = x.minimum(f64::from(XIELU_EPS))?;
                let below = (((low.exp()? - 1.0)? - x.minimum(0.0)?)? * negative)?;
                // Above 0 the lower branch has no part.
                let is_below = x.detach().le(0.0)?.to_dtype(x.dtype())?;
                (linear + above)? + (below * is_below)?
            }
        }
    }

    /// The function of `gate` times `up`, element by element. The result replaces `gate`.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn gated(self, gate: Tensor, up: &Tensor) -> Result<Tensor> {
        match self.kind {
            Activation::Silu => swiglu(gate, up),
            Activation::ClampedSwiGlu { limit } => super::clamped_swiglu(gate, up, limit),
            _ => {
                let gate = self.of(gate)?;
                if !has_own_operations(gate.device()) {
                    return gate * up;
                }
                gate.inplace_op2(up, &Multiply)?;
                Ok(gate)
            }
        }
    }

    #[inline(always)]
    fn apply(self, values: &mut [f32]) {
        let sigmoid = |x: f32| 1.0 / (1.0 + exp(-x));
        match self.kind {
            Activation::Silu | Activation::ClampedSwiGlu { .. } => {
                values.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x));
            }
            // 0.5 (1 + tanh(u)) is the sigmoid of 2u.
            Activation::GeluTanh => values.iter_mut().for_each(|x| {
                let slope = GELU_SLOPE * (*x + GELU_CUBE * *x * *x * *x);
                *x *= sigmoid(slope);
            }),
            Activation::Gelu => values.iter_mut().for_each(|x| {
                let half = std::f64::consts::FRAC_1_SQRT_2;
                let erf = statrs::function::erf::erf(f64::from(*x) * half);
                *x = (0.5 * f64::from(*x) * (1.0 + erf)) as f32;
            }),
            Activation::ReluSquared => values.iter_mut().for_each(|x| {
                let above = if *x > 0.0 { *x } else { 0.0 * *x };
                *x = above * above;
            }),
            Activation::Xielu => {
                let [positive, negative] = self.xielu;
                values.iter_mut().for_each(|x| {
                    let linear = XIELU_BETA * *x;
                    *x = if *x > 0.0 {
                        positive * *x * *x + linear
                    } else {
                        (x.min(XIELU_EPS).exp_m1() - *x) * negative + linear
                    };
                });
            }
        }
    }
}

impl InplaceOp1 for ActivationFunction {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let x = slice_mut(x, layout)?;
        Arch::new().dispatch(|| self.apply(x));
        Ok(())
    }
}

struct Multiply;

impl InplaceOp2 for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<()> {
        let (a, b) = (slice_mut(a, la)?, slice(b, lb)?);
        Arch::new().dispatch(|| a.iter_mut().zip(b).for_each(|(a, b)| *a *= b));
        Ok(())
    }
}

/// `cap · tanh(scale · x / cap)`, element by element. The result replaces `x`.
///
/// # Errors
/// Candle's errors.
pub fn softcap(x: Tensor, scale: f32, cap: f64) -> Result<Tensor> {
    if !has_own_operations(x.device()) {
        return (x * (f64::from(scale) / cap))?.tanh()? * cap;
    }
    x.inplace_op1(&Softcap { scale, cap: cap as f32 })?;
    Ok(x)
}

struct Softcap {
    scale: f32,
    cap: f32,
}

impl InplaceOp1 for Softcap {
    fn name(&self) -> &'static str {
        "softcap"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Softcap { scale, cap } = *self;
        slice_mut(x, layout)?.iter_mut().for_each(|x| *x = (*x * scale / cap).tanh() * cap);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Values of torch 2.15 in f32, at -3, -1, -0.1, 0, 0.1, 1 and 3.
    #[test]
    fn functions_are_those_of_torch() {
        let at = [-3.0f32, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0];
        let cases: [(Activation, [f32; 7]); 4] = [
            (
                Activation::Silu,
                [
                    -0.142_277_6,
                    -0.268_941_4,
                    -0.047_502_08,
                    0.0,
                    0.052_497_92,
                    0.731_058_6,
                    2.857_722_5,
                ],
            ),
            (
                Activation::Gelu,
                [
                    -0.004_049_69,
                    -0.158_655_25,
                    -0.046_017_22,
                    0.0,
                    0.053_982_78,
                    0.841_344_7,
                    2.995_950_2,
                ],
            ),
            (
                Activation::GeluTanh,
                [
                    -0.003_637_39,
                    -0.158_808,
                    -0.046_017_06,
                    0.0,
                    0.053_982_94,
                    0.841_192,
                    2.996_362_7,
                ],
            ),
            (Activation::ReluSquared, [0.0, 0.0, 0.0, 0.0, 0.01, 1.0, 9.0]),
        ];
        for (kind, expected) in cases {
            let x = Tensor::new(&at, &Device::Cpu).unwrap();
            let found = ActivationFunction::plain(kind).of(x).unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{kind:?}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn candle_computes_the_same() {
        let at: Vec<f32> = (-40..40).map(|i| i as f32 * 0.11).collect();
        let function = |kind| ActivationFunction { kind, xielu: [0.7, 1.3] };
        for kind in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::ReluSquared,
            Activation::Xielu,
        ] {
            let compute = || {
                let x = Tensor::new(at.as_slice(), &Device::Cpu).unwrap();
                let up = (&x + 0.5).unwrap();
                function(kind).gated(x, &up).unwrap().to_vec1::<f32>().unwrap()
            };
            let own = compute();
            let (candles, _) = crate::model::backend::candles_alone::run(compute);
            for (own, candles) in own.iter().zip(candles) {
                assert!((own - candles).abs() < 1e-5, "{kind:?}: {own}, {candles}");
            }
        }
    }
}
