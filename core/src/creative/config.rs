//! Settings of the Creative engine.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of the Creative engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CreativeConfig {
    /// A chat model that judges feasibility. It is used only after it passed the calibration set; without one,
    /// `feasibility` is absent where constraints cannot be checked by code. Default: none.
    pub judge: Option<String>,
    /// Share of the calibration pairs a judge must get right to be used. Default 0.7.
    pub judge_floor: f64,
    /// Cosine from which two ideas count as the same. Default 0.92.
    pub same_idea: f64,
    /// Models asked at once. Default 4.
    pub concurrency: usize,
}

impl Default for CreativeConfig {
    fn default() -> Self {
        Self { judge: None, judge_floor: 0.7, same_idea: 0.92, concurrency: 4 }
    }
}

impl CreativeConfig {
    /// # Errors
    /// `Invalid`, naming the setting that is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::invalid(message).during("CreativeEngine::new"));
        for (name, value) in [("judge_floor", self.judge_floor), ("same_idea", self.same_idea)] {
            if !(0.0..=1.0).contains(&value) {
                return invalid(format!("creative.{name} is {value}; it must be 0 to 1"));
            }
        }
        if !(1..=64).contains(&self.concurrency) {
            return invalid(format!("creative.concurrency is {}; it must be 1 to 64", self.concurrency));
        }
        Ok(())
    }
}
