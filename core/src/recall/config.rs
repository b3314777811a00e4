//! Settings of recall.

use serde::{Deserialize, Serialize};

use super::{IndexChoice, Quotas};
use crate::error::{Error, Result};

/// How scores of meaning and of words become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fusion {
    /// A weighted mean of both scores, each scaled to [0, 1] over the candidates (Bruch et al. 2023).
    #[default]
    Convex,
    /// Reciprocal rank fusion with k = 60 (Cormack et al. 2009).
    Rrf,
}

/// Settings of recall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RecallConfig {
    /// How scores are fused. Default `convex`.
    pub fusion: Fusion,
    /// Weight of meaning against words, 0 to 1, for `convex`. Default 0.5.
    pub dense_weight: f64,
    /// Which index serves the vectors: `auto`, `scan`, `ivf` or `arroy`. Default `auto`.
    pub index: IndexChoice,
    /// Part of the true ten nearest vectors that a query is to find, .8 to 1; 1 compares all of them exactly. Default .99.
    pub recall: f64,
    /// Namespaces of up to this many vectors are served by the scan, whatever the index. Default 50,000. With the index
    /// `auto`, those of up to 20,000 (and up to 64 MiB of vectors: 10,922 of 1,536 numbers) are compared exactly, which takes
    /// a few milliseconds and misses nothing.
    pub scan_limit: usize,
    /// Vectors that the index of a larger one does not hold yet before it takes them in; until then they are scanned.
    /// Default 5,000.
    pub pending_limit: usize,
    /// BM25 k1. Default 1.2.
    pub bm25_k1: f64,
    /// BM25 b. Default 0.75.
    pub bm25_b: f64,
    /// Texts of more bytes than this are found by their passages; 0: none. Default 2,000.
    pub passage_above: usize,
    /// Bytes of a passage, about: it ends with a sentence. 64 at least. Default 1,000.
    pub passage: usize,
    /// Whether an item whose id is stored again with something else stays to be asked for by `as_of` and `history`. Default
    /// true.
    pub history: bool,
    /// How much namespaces may hold. Default: no limit.
    pub quotas: Quotas,
}

impl Default for RecallConfig {
    fn default() -> Self {
        Self {
            fusion: Fusion::Convex,
            dense_weight: 0.5,
            index: IndexChoice::Auto,
            recall: 0.99,
            scan_limit: 50_000,
            pending_limit: 5_000,
            bm25_k1: 1.2,
            bm25_b: 0.75,
            passage_above: 2_000,
            passage: 1_000,
            history: true,
            quotas: Quotas::default(),
        }
    }
}

impl RecallConfig {
    /// # Errors
    /// `Invalid` when a number is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        let ranges = [
            ("dense_weight", self.dense_weight, 0.0, 1.0),
            ("recall", self.recall, 0.8, 1.0),
            ("bm25_k1", self.bm25_k1, 0.0, 100.0),
            ("bm25_b", self.bm25_b, 0.0, 1.0),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(Error::invalid(format!("`{name}` of recall is {low} to {high}")).with("value", value));
            }
        }
        if self.passage < 64 {
            return Err(Error::invalid("a `passage` of recall has 64 bytes at least").with("value", self.passage));
        }
        Ok(())
    }
}
