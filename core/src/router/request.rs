//! What the router engine is asked and answers.

use std::{collections::BTreeMap, fmt, pin::Pin};

use futures_util::Stream;
use serde::{Deserialize, Serialize};

use super::{
    CacheHit, RoutePlan,
    budgets::BudgetState,
    labels::Shadowed,
    learn::{Calibration, Record},
    learning::Evaluation,
    ledger::{LedgerEntry, LedgerGroup, LedgerGroupTotals, LedgerQuery, LedgerTotals, Replay},
};
use crate::{
    engine::FunctionSpec,
    error::{Error, Result},
    model::{
        FinishReason, GeneratedImage, ImageRequest, LocalStatistics, Message, ModelProfile, PriceWarning,
        ResponseFormat, Role, Sampling, TokenLogprob, ToolCall, ToolChoice, Usage,
    },
    money::NanoUsd,
};

/// What a model must offer to serve a request. Absent fields ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own, and a field of the JSON form")]
pub struct Needs {
    /// This model and no other.
    pub model: Option<String>,
    /// The prompt must not leave this process.
    pub local_only: bool,
    /// The model must call tools. Set by itself when the request has tools.
    pub tools: bool,
    /// The model must write JSON that fits a schema. Set by itself when the request has one.
    pub json_schema: bool,
    /// The model must keep to a regular expression or a grammar. Set by itself when the request has one.
    pub grammar: bool,
    /// The model must read images. Set by itself when the request has some.
    pub images: bool,
    /// The model must reason for a time that is set. Set by itself when the request sets one.
    pub reasoning: bool,
    /// At least this quality, 0 to 1; a model of unknown quality does not qualify.
    pub min_quality: Option<f64>,
    /// The call may cost at most this.
    pub max_cost: Option<NanoUsd>,
    /// The model's usual latency may be at most this; a model of unknown latency qualifies.
    pub max_latency_ms: Option<u64>,
    /// Spend this part less than the best single model would, (0, 1), and get the best quality that this buys. Only a
    /// router that has learned can aim at it; over many requests, not in each.
    pub target_saving: Option<f64>,
    /// Keep this part of the best single model's quality, (0, 1), at the least cost. Only a router that has learned
    /// can aim at it; over many requests, not in each.
    pub min_retention: Option<f64>,
    /// The chance that `min_retention` is kept, over the draw of the labels that were learned from: (0, 1), default
    /// 0.9.
    pub confidence: Option<f64>,
}

impl Needs {
    /// Checks the ranges that the fields document.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        let parts = [
            ("target_saving", self.target_saving),
            ("min_retention", self.min_retention),
            ("confidence", self.confidence),
        ];
        for (name, part) in parts {
            if let Some(part) = part.filter(|part| !(*part > 0.0 && *part < 1.0)) {
                return Err(Error::invalid(format!("{name} is {part}; it must be between 0 and 1, such as 0.9")));
            }
        }
        if self.target_saving.is_some() && self.min_retention.is_some() {
            return Err(Error::invalid("target_saving and min_retention are two aims; give one of them"));
        }
        Ok(())
    }
}

/// What is asked: one prompt, or a chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// One message of the user.
    Text(String),
    /// A chat.
    Messages(Vec<Message>),
}

impl Prompt {
    /// As messages, with `system` before them.
    pub fn into_messages(self, system: Option<String>) -> Vec<Message> {
        let mut messages: Vec<_> = system.map(Message::system).into_iter().collect();
        match self {
            Self::Text(text) => messages.push(Message::new(Role::User, text)),
            Self::Messages(more) => messages.extend(more),
        }
        messages
    }
}

/// A request for text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GenerateRequest {
    /// What is asked.
    pub prompt: Prompt,
    /// Instructions before it.
    #[serde(default)]
    pub system: Option<String>,
    /// What a model must offer.
    #[serde(default)]
    pub needs: Needs,
    /// Tools the model may call; the caller runs them.
    #[serde(default)]
    pub tools: Vec<FunctionSpec>,
    /// Whether it calls some: `"auto"`, `"none"`, `"required"` or `{"tool": name}`.
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// Whether it may call more than one at once. Default: as the model likes.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    #[serde(default)]
    pub response_format: ResponseFormat,
    /// How tokens are chosen.
    #[serde(default)]
    pub sampling: Sampling,
    /// The caller's name of the task, such as `summarise`: what the router learns, budgets and the ledger go by. 1 to 64
    /// bytes; never a text of a user.
    #[serde(default)]
    pub tag: Option<String>,
    /// Answers wanted, 1 to 64. Each is a call of its own: it takes the next seed after the one before it, it is billed
    /// for the whole prompt, and may be of another model when one fails. A local model reads the prompt once. Default 1.
    #[serde(default = "one")]
    pub n: u32,
}

fn one() -> u32 {
    1
}

impl GenerateRequest {
    /// Answers of a request at most.
    const MOST: u32 = 64;

    /// Asks `prompt` of any model.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self::from(Prompt::Text(prompt.into()))
    }

    /// The requests, of one answer each, that together are this one.
    ///
    /// # Errors
    /// `Invalid` for a number of answers out of range.
    pub(super) fn each(self) -> Result<Vec<Self>> {
        if !(1..=Self::MOST).contains(&self.n) {
            return Err(Error::invalid(format!("n is {}; it must be in [1, {}]", self.n, Self::MOST)));
        }
        let n = self.n;
        let of = |at| {
            let mut one = Self { n: 1, ..self.clone() };
            one.sampling.seed = self.sampling.seed.map(|seed| seed.wrapping_add(u64::from(at)));
            // All together may cost no more than the call may.
            one.needs.max_cost = self.needs.max_cost.map(|most| NanoUsd(most.0 / i64::from(n)));
            one
        };
        Ok((0..n).map(of).collect())
    }
}

impl From<Prompt> for GenerateRequest {
    fn from(prompt: Prompt) -> Self {
        Self {
            prompt,
            system: None,
            needs: Needs::default(),
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: None,
            response_format: ResponseFormat::Text,
            sampling: Sampling::default(),
            tag: None,
            n: one(),
        }
    }
}

/// One try of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The model.
    pub model: String,
    /// The error code when it failed.
    pub code: Option<String>,
    /// What went wrong, without any prompt or key.
    pub message: Option<String>,
    /// Time it took.
    pub latency_ms: u64,
}

/// An answer, and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerateReply {
    /// Identifies the reply in the ledger.
    pub id: String,
    /// The text.
    pub text: String,
    /// Tools the model wants called.
    pub tool_calls: Vec<ToolCall>,
    /// Log-probabilities, when asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The model that answered.
    pub model: String,
    /// Tokens read and written.
    pub usage: Usage,
    /// What it cost.
    pub cost: NanoUsd,
    /// What the same tokens would have cost on the reference model.
    pub reference_cost: NanoUsd,
    /// The difference; negative when the reference model would have been cheaper.
    pub saved: NanoUsd,
    /// Time it took.
    pub latency_ms: u64,
    /// Every model tried, failed ones first.
    pub attempts: Vec<Attempt>,
    /// Why these models, in this order.
    pub route: RoutePlan,
    /// How the answer was found, when it had been given before: no model was asked, and it cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_hit: Option<CacheHit>,
    /// The other answers, where more than one was asked for, each with what it took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<GenerateReply>,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamEvent {
    /// More text.
    Text {
        /// The text.
        text: String,
    },
    /// The end, with the whole answer.
    Done {
        /// The answer.
        reply: Box<GenerateReply>,
    },
}

/// The pieces of an answer as they come; the last is [`StreamEvent::Done`]. Dropping it stops the model.
pub type GenerateStream = Pin<Box<dyn Stream<Item = Result<StreamEvent>> + Send>>;

/// Texts to embed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// The texts.
    pub texts: Vec<String>,
    /// Whether they are queries, to be compared with texts that are none. Default false.
    #[serde(default)]
    pub query: bool,
}

/// Their vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbedReply {
    /// One vector a text, of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// For each text, whether it was longer than the embedder reads.
    pub truncated: Vec<bool>,
    /// The embedder.
    pub embedder: String,
}

/// Images, and what they took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageReply {
    /// Identifies the reply in the ledger.
    pub id: String,
    /// As many as were asked for.
    pub images: Vec<GeneratedImage>,
    /// The model that made them.
    pub model: String,
    /// Tokens read and written, as far as the provider counts them.
    pub usage: Usage,
    /// What they cost.
    pub cost: NanoUsd,
    /// Time it took.
    pub latency_ms: u64,
}

fn whole() -> f64 {
    1.0
}

/// What the engine `router` is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouterRequest {
    /// Text, from the model that the router chooses.
    Generate(GenerateRequest),
    /// The decision only; nothing is called.
    Route(GenerateRequest),
    /// Vectors.
    Embed(EmbedRequest),
    /// Images.
    Image(ImageRequest),
    /// Entries of the ledger.
    Ledger(LedgerQuery),
    /// Sums of the ledger.
    Totals {
        /// Of this tenant; all when absent.
        #[serde(default)]
        tenant: Option<String>,
    },
    /// Sums of the ledger by groups.
    Groups {
        /// What they are summed up by.
        by: LedgerGroup,
        /// Of which entries; all when absent.
        #[serde(default)]
        of: LedgerQuery,
    },
    /// What past calls would have cost with another policy: always `model`, or else as the router decides now.
    Replay {
        /// A model for all, by its id or its name in the price table.
        #[serde(default)]
        model: Option<String>,
        /// The models the router chooses among. Default: those there are now.
        #[serde(default)]
        models: Option<Vec<ModelProfile>>,
        /// Of which entries; all when absent.
        #[serde(default)]
        of: LedgerQuery,
    },
    /// How the budgets of the settings stand.
    Budgets {},
    /// What is to be known of the prices of the models there are.
    PriceWarnings {},
    /// How good a reply was.
    Feedback {
        /// The id of the reply.
        id: String,
        /// 0 to 1.
        score: f64,
        /// How good the answer of the model was that was asked beside it, 0 to 1.
        #[serde(default)]
        shadow_score: Option<f64>,
    },
    /// Replies of which two models' answers are kept to be judged, newest first.
    Shadowed {
        /// At most so many. Default 100.
        #[serde(default)]
        limit: Option<usize>,
    },
    /// Removes what is kept of replies to learn from.
    Forget {
        /// The id of the reply; all of the tenant when absent.
        #[serde(default)]
        id: Option<String>,
    },
    /// To learn anew.
    Train {
        /// Prompts whose answers were judged, beside the judgements so far.
        #[serde(default)]
        records: Vec<Record>,
    },
    /// How choosing by what was learned does.
    Evaluate {
        /// Prompts whose answers were judged, that were not learned from.
        records: Vec<Record>,
        /// The part of the best single model's quality to keep.
        #[serde(default = "whole")]
        retention: f64,
    },
    /// From which doubt on a dearer model is asked.
    Calibrate {
        /// The part of its quality to keep; that of the settings when absent.
        #[serde(default)]
        min_retention: Option<f64>,
        /// The chance that it is kept; that of the settings when absent.
        #[serde(default)]
        confidence: Option<f64>,
    },
    /// From which likeness on an answer may be given again.
    CalibrateCache {
        /// Two requests, and whether one answer serves both.
        pairs: Vec<(String, String, bool)>,
        /// The part of the answers given again that may be wrong.
        #[serde(default)]
        false_hits: f64,
    },
    /// A decision in words.
    Explain {
        /// The id of the reply.
        id: String,
    },
    /// The models there are.
    Models {},
    /// What the models in this process did and hold.
    LocalStatistics {},
}

/// What the engine `router` answers.
#[derive(Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum RouterReply {
    /// To `generate`.
    Generated(Box<GenerateReply>),
    /// To `route`.
    Routed(RoutePlan),
    /// To `embed`.
    Embedded(EmbedReply),
    /// To `image`.
    Images(ImageReply),
    /// To `ledger`.
    Ledger(Vec<LedgerEntry>),
    /// To `totals`.
    Totals(LedgerTotals),
    /// To `groups`.
    Groups(Vec<LedgerGroupTotals>),
    /// To `replay`.
    Replayed(Replay),
    /// To `budgets`.
    Budgets(Vec<BudgetState>),
    /// To `price_warnings`.
    PriceWarnings(Vec<PriceWarning>),
    /// To `feedback` and `train`.
    Learned {
        /// What was learned from.
        records: usize,
    },
    /// To `shadowed`.
    Shadowed(Vec<Shadowed>),
    /// To `forget`.
    Forgotten {
        /// Of how many replies something was removed.
        replies: usize,
    },
    /// To `evaluate`.
    Evaluated(Box<Evaluation>),
    /// To `calibrate`.
    Calibrated(Calibration),
    /// To `calibrate_cache`.
    CacheThreshold {
        /// For the setting `cache.semantic`; none when no likeness is safe.
        threshold: Option<f64>,
    },
    /// To `explain`.
    Explained {
        /// In words.
        text: String,
    },
    /// To `models`.
    Models(Vec<ModelProfile>),
    /// To `local_statistics`.
    LocalStatistics {
        /// By the names of the models.
        models: BTreeMap<String, LocalStatistics>,
    },
}

/// Answers stay out of logs.
impl fmt::Debug for RouterReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouterReply")
    }
}
