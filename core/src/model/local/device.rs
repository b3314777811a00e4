//! The layers of an encoder on a GPU, by candle. What is built in decides which there are: without its features candle
//! knows the processor only, where our own kernels are faster.

use std::ops::Range;

use candle_core::{D, Tensor, utils};

use super::checkpoint::{Layer, Norm, Weights};
use crate::{
    error::{Error, ErrorKind, Result},
    model::Device,
};

/// Far below every score, so that what is no token gets no part of the attention.
const NEVER: f32 = -1e9;

/// The device as candle has it; none for the processor.
///
/// # Errors
/// `Unsupported`, with what has to be built in; `Unavailable` when there is no such device.
pub(super) fn open(device: Device) -> Result<Option<candle_core::Device>> {
    let absent = |feature: &str| {
        let message = format!(
            "the device \"{feature}\" is not built in; build with the feature `{feature}` of candle-core: \
             `cargo build --features candle-core/{feature}`, or candle-core with that feature among your dependencies"
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    };
    let unusable = |e| Error::new(ErrorKind::Unavailable, "the GPU cannot be used").caused_by(e);
    match device {
        Device::Cpu => Ok(None),
        Device::Cuda if !utils::cuda_is_available() => absent("cuda"),
        Device::Metal if !utils::metal_is_available() => absent("metal"),
        Device::Cuda => candle_core::Device::new_cuda(0).map(Some).map_err(unusable),
        Device::Metal => candle_core::Device::new_metal(0).map(Some).map_err(unusable),
    }
}

/// The layers of an encoder on a device.
#[derive(Debug)]
pub(super) struct OnDevice {
    device: candle_core::Device,
    layers: Vec<Layer<Product>>,
    width: usize,
    heads: usize,
    epsilon: f64,
}

/// A matrix with a column for each result, and what is added.
#[derive(Debug)]
pub(super) struct Product {
    weight: Tensor,
    bias: Tensor,
}

type Computed<T = Tensor> = candle_core::Result<T>;

impl OnDevice {
    /// Copies the layers to `device`.
    ///
    /// # Errors
    /// As for the weights; `Unavailable` when they do not fit the device.
    pub(super) fn new(device: &candle_core::Device, weights: &mut Weights<'_>) -> Result<Self> {
        let config = weights.config;
        let make = |rows: usize, cols: usize, weight: &[f32], bias: Vec<f32>| {
            let weight = Tensor::from_slice(weight, (rows, cols), device).and_then(|all| all.t()?.contiguous());
            let bias = Tensor::from_vec(bias, rows, device);
            Ok(Product { weight: weight.map_err(failed)?, bias: bias.map_err(failed)? })
        };
        let layers = (0..config.num_hidden_layers).map(|at| weights.layer_as(at, make)).collect::<Result<_>>()?;
        Ok(Self {
            device: device.clone(),
            layers,
            width: config.hidden_size,
            heads: config.num_attention_heads,
            epsilon: f64::from(config.layer_norm_eps),
        })
    }

    /// What the layers make of `hidden`, whose rows are those of the `texts`.
    ///
    /// # Errors
    /// `Unavailable` when the device fails.
    pub(super) fn run(&self, hidden: &[f32], texts: &[Range<usize>]) -> Result<Vec<f32>> {
        self.compute(hidden, texts).map_err(failed)
    }

    fn compute(&self, hidden: &[f32], texts: &[Range<usize>]) -> Computed<Vec<f32>> {
        let longest = texts.iter().map(ExactSizeIterator::len).max().unwrap_or_default();
        // A device takes texts of one length: the others are filled up, and nobody looks at what was added.
        let mut rows = vec![0.0; texts.len() * longest * self.width];
        let mut mask = vec![NEVER; texts.len() * longest];
        for (at, text) in texts.iter().enumerate() {
            let numbers = &hidden[text.start * self.width..text.end * self.width];
            rows[at * longest * self.width..][..numbers.len()].copy_from_slice(numbers);
            mask[at * longest..][..text.len()].fill(0.0);
        }
        let mut rows = Tensor::from_vec(rows, (texts.len() * longest, self.width), &self.device)?;
        let mask = Tensor::from_vec(mask, (texts.len(), 1, 1, longest), &self.device)?;
        for layer in &self.layers {
            rows = self.layer(layer, &rows, &mask)?;
        }
        let filled: Vec<f32> = rows.flatten_all()?.to_vec1()?;
        let of_text = |(at, text): (usize, &Range<usize>)| {
            filled[at * longest * self.width..][..text.len() * self.width].to_vec()
        };
        Ok(texts.iter().enumerate().flat_map(of_text).collect())
    }

    fn layer(&self, layer: &Layer<Product>, rows: &Tensor, mask: &Tensor) -> Computed {
        let (texts, longest) = (mask.dim(0)?, mask.dim(3)?);
        let head = self.width / self.heads;
        let all = layer.attention.apply(rows)?;
        let part = |at: usize| {
            let part = all.narrow(1, at * self.width, self.width)?;
            part.reshape((texts, longest, self.heads, head))?.transpose(1, 2)?.contiguous()
        };
        let scores = (part(0)?.matmul(&part(1)?.t()?.contiguous()?)? / (head as f64).sqrt())?;
        let scores = scores.broadcast_add(mask)?;
        let parts = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let parts = parts.broadcast_div(&parts.sum_keepdim(D::Minus1)?)?;
        let mixed = parts.matmul(&part(2)?)?.transpose(1, 2)?.contiguous()?.reshape((texts * longest, self.width))?;
        let rows = self.norm(&layer.attention_norm, &(rows + layer.mixed.apply(&mixed)?)?)?;
        let up = layer.up.apply(&rows)?.gelu_erf()?;
        self.norm(&layer.norm, &(&rows + layer.down.apply(&up)?)?)
    }

    fn norm(&self, norm: &Norm, rows: &Tensor) -> Computed {
        let of = |numbers: &[f32]| Tensor::from_slice(numbers, numbers.len(), &self.device);
        let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
        let spread = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?;
        centred.broadcast_div(&spread)?.broadcast_mul(&of(&norm.weight)?)?.broadcast_add(&of(&norm.bias)?)
    }
}

impl Product {
    fn apply(&self, rows: &Tensor) -> Computed {
        rows.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

fn failed(e: candle_core::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the device of the model failed").caused_by(e)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{
        bert::{Bert, Pooling, Tokens},
        checkpoint::Config,
        kernel::Pool,
        safetensors::Tensors,
    };
    use crate::model::Precision;

    /// On the processor, which every machine has; the same code runs on a GPU.
    #[test]
    fn layers_of_candle_give_what_our_own_give() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders");
        for (name, scores) in [("bert-mean", false), ("distilbert-last", false), ("bert-cross", true)] {
            let folder = folder.join(name);
            let config = Config::read(&folder).unwrap();
            let model = |device: Option<&candle_core::Device>| {
                let tensors = Tensors::open(&folder.join("model.safetensors")).unwrap();
                Bert::new(&config, tensors, Precision::F32, device, scores).unwrap()
            };
            let (ours, candles) = (model(None), model(Some(&candle_core::Device::Cpu)));
            let tokens: Vec<Vec<u32>> = [1, 9, 4].map(|count| (5..5 + count).collect()).to_vec();
            let texts: Vec<_> = tokens.iter().map(|all| Tokens { all, second: all.len().div_ceil(2) }).collect();
            let near = |ours: &[f32], candles: &[f32]| {
                assert_eq!(ours.len(), candles.len());
                let furthest = ours.iter().zip(candles).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(furthest < 1e-4, "{name}: {furthest}");
            };
            for pooling in [Pooling::Mean, Pooling::First, Pooling::Last] {
                let embed = |model: &Bert| model.embed(&texts, pooling, &mut Pool::new(1)).unwrap().concat();
                near(&embed(&ours), &embed(&candles));
            }
            if scores {
                let score = |model: &Bert| model.score(&texts, &mut Pool::new(1)).unwrap().unwrap();
                near(&score(&ours), &score(&candles));
            }
        }
    }
}
