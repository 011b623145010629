//! A Llama in f64, one number after the other, and the second moments of what its layers are given:
//! what `tests/saved_moments.rs` holds the program's against.

use std::collections::BTreeMap;

use crate::common::Tiny;

/// A Llama in f64, one number after the other.
pub struct Plain {
    tiny: Tiny,
    pub weights: BTreeMap<String, Vec<f64>>,
}

pub type Rows = Vec<Vec<f64>>;

impl Plain {
    pub fn new(tiny: Tiny) -> Self {
        let values = |bytes: &[u8]| -> Vec<f64> {
            bytes
                .chunks(4)
                .map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap())))
                .collect()
        };
        let weights = tiny.tensors().into_iter().map(|t| (t.name.clone(), values(&t.bytes)));
        Plain { weights: weights.collect(), tiny }
    }

    fn weight(&self, layer: usize, part: &str) -> &[f64] {
        &self.weights[&format!("model.layers.{layer}.{part}.weight")]
    }

    fn linear(&self, layer: usize, part: &str, rows: &Rows) -> Rows {
        let weight = self.weight(layer, part);
        let dot = |w: &[f64], x: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum();
        let of = |x: &Vec<f64>| weight.chunks(x.len()).map(|w| dot(w, x)).collect();
        rows.iter().map(of).collect()
    }

    fn norm(&self, layer: usize, part: &str, rows: &Rows) -> Rows {
        let gain = self.weight(layer, part);
        let of = |x: &Vec<f64>| {
            let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            x.iter().zip(gain).map(|(x, g)| x / (square + 1e-5).sqrt() * g).collect()
        };
        rows.iter().map(of).collect()
    }

    /// Rotates each head of `[tokens, heads * dim]` by its position, first half against second.
    fn rotated(&self, rows: &Rows, dim: usize) -> Rows {
        let mut rotated = rows.clone();
        for (position, row) in rotated.iter_mut().enumerate() {
            for head in row.chunks_mut(dim) {
                for at in 0..dim / 2 {
                    let angle = position as f64 / 10000f64.powf(2.0 * at as f64 / dim as f64);
                    let (a, b) = (head[at], head[at + dim / 2]);
                    head[at] = a * angle.cos() - b * angle.sin();
                    head[at + dim / 2] = b * angle.cos() + a * angle.sin();
                }
            }
        }
        rotated
    }

    fn attended(&self, layer: usize, normed: &Rows) -> Rows {
        let (heads, shared, dim) = (4, 2, self.tiny.hidden / 4);
        let project = |part: &str| self.linear(layer, part, normed);
        let queries = self.rotated(&project("self_attn.q_proj"), dim);
        let keys = self.rotated(&project("self_attn.k_proj"), dim);
        let values = project("self_attn.v_proj");
        let mut out = vec![vec![0.0; self.tiny.hidden]; normed.len()];
        for token in 0..normed.len() {
            for head in 0..heads {
                let (own, other) = (head * dim, head / shared * dim);
                let score = |before: usize| {
                    let dot =
                        (0..dim).map(|at| queries[token][own + at] * keys[before][other + at]);
                    (dot.sum::<f64>() / (dim as f64).sqrt()).exp()
                };
                let scores: Vec<f64> = (0..=token).map(score).collect();
                let total: f64 = scores.iter().sum();
                for at in 0..dim {
                    let mixed = scores.iter().zip(&values).map(|(s, v)| s * v[other + at]);
                    out[token][own + at] = mixed.sum::<f64>() / total;
                }
            }
        }
        out
    }

    /// What the four places of a layer are given, and the states after it.
    pub fn layer(&self, layer: usize, x: &Rows) -> ([Rows; 4], Rows) {
        let add = |a: &Rows, b: &Rows| -> Rows {
            let row =
                |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
            a.iter().zip(b).map(row).collect()
        };
        let attention = self.norm(layer, "input_layernorm", x);
        let output = self.attended(layer, &attention);
        let x = add(x, &self.linear(layer, "self_attn.o_proj", &output));
        let mlp = self.norm(layer, "post_attention_layernorm", &x);
        let (gate, up) =
            (self.linear(layer, "mlp.gate_proj", &mlp), self.linear(layer, "mlp.up_proj", &mlp));
        let row = |(gate, up): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
            gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
        };
        let down: Rows = gate.iter().zip(&up).map(row).collect();
        let x = add(&x, &self.linear(layer, "mlp.down_proj", &down));
        ([attention, output, mlp, down], x)
    }
}

/// E[x xᵀ] over tokens that count as the inverse mean square of the layer's output.
pub fn moments(given: &[Rows], outputs: &[Rows]) -> Vec<f64> {
    let square = |x: &Vec<f64>| x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let weights: Vec<f64> = outputs.iter().flatten().map(|x| 1.0 / square(x)).collect();
    let total: f64 = weights.iter().sum();
    let inputs = given[0][0].len();
    let mut sum = vec![0.0; inputs * inputs];
    for (x, weight) in given.iter().flatten().zip(&weights) {
        for (at, sum) in sum.iter_mut().enumerate() {
            *sum += x[at / inputs] * x[at % inputs] * weight / total;
        }
    }
    sum
}
