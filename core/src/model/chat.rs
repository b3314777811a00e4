//! Chat: messages in, a stream of text out.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::{LocalStatistics, ModelProfile, Usage};
use crate::{
    context::Context,
    engine::FunctionSpec,
    error::{Error, ErrorKind, Result},
};

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of the program.
    System,
    /// The person, or the program in their place.
    User,
    /// The model.
    Assistant,
    /// The result of a tool the model called.
    Tool,
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said.
    #[serde(default)]
    pub content: String,
    /// Images that go with it; the model must have the capability.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageInput>,
    /// Tools the model called in it (role `assistant`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call it answers (role `tool`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Asks the provider to keep everything up to the end of this message, tools included, for requests that begin in
    /// the same way: they read it at the cached price. Providers that keep what they like, and models in this process,
    /// which always do, take it as said. At most 4 messages of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheFor>,
}

impl Message {
    /// A message of `role` that says `content`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            images: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            cache: None,
        }
    }

    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// Instructions.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }
}

/// How long a provider is asked to keep what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheFor {
    /// Five minutes from the last use.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour from the last use; writing it costs more.
    #[serde(rename = "1h")]
    OneHour,
}

/// An image given to a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInput {
    /// An `https:` or `data:` URL.
    pub url: String,
}

/// A tool the model wants called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Identifies the call in the answer to it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its input.
    pub arguments: Value,
    /// What its provider wants to have back with it as it came, such as the signature of a thought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

impl ToolCall {
    /// The call of `name` with `arguments`.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: Value) -> Self {
        Self { id: id.into(), name: name.into(), arguments, extra_content: None }
    }
}

/// Whether tools are called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// No tool is called.
    None,
    /// At least one is.
    Required,
    /// The one of this name is.
    Tool(String),
}

/// How long a model that reasons before it answers may do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// Little.
    Low,
    /// As usual.
    Medium,
    /// Long.
    High,
}

impl ReasoningEffort {
    /// Its name in JSON and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The form an answer must have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// A name for the schema.
        name: String,
        /// The JSON schema.
        schema: Value,
    },
    /// Text that a regular expression matches as a whole.
    Regex {
        /// The expression: no look-around, no back-references.
        pattern: String,
    },
    /// Text that a grammar derives from its rule `start`.
    Grammar {
        /// The grammar, in the Lark dialect of llguidance.
        lark: String,
    },
}

impl ResponseFormat {
    /// Whether a model needs the capability `grammar` for it.
    pub const fn needs_grammar(&self) -> bool {
        matches!(self, Self::Regex { .. } | Self::Grammar { .. })
    }
}

/// How the next token is chosen. Absent fields are the model's own defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the likeliest token; 1 samples from the model's distribution. 0 to 2.
    pub temperature: Option<f64>,
    /// Samples from the likeliest tokens that together have this probability. (0, 1].
    pub top_p: Option<f64>,
    /// Samples from this many likeliest tokens.
    pub top_k: Option<usize>,
    /// Drops tokens less likely than this part of the likeliest one. [0, 1].
    pub min_p: Option<f64>,
    /// Divides the score of tokens that were said already; 1 is off. (0, 2].
    pub repetition_penalty: Option<f64>,
    /// What is added to the scores of tokens, by their numbers in the model that answers: name it in the needs. [-100,
    /// 100]; -100 rules a token out. Log-probabilities are those before it.
    #[serde(deserialize_with = "by_token", skip_serializing_if = "BTreeMap::is_empty")]
    pub logit_bias: BTreeMap<u32, f32>,
    /// Makes sampling repeatable.
    pub seed: Option<u64>,
    /// Texts that end the answer; they are not part of it. At most 8.
    pub stop: Vec<String>,
    /// Tokens to write at most.
    pub max_tokens: Option<u32>,
    /// Log-probabilities wanted: of the chosen token and of this many likeliest ones. At most 20.
    pub logprobs: Option<u8>,
    /// How long the model may reason before it answers; needs the capability `reasoning`, but for `none`. The tokens of
    /// it count as written. Default: as the provider likes.
    pub reasoning_effort: Option<ReasoningEffort>,
}

impl Sampling {
    /// Checks the ranges that the fields document.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        let range = |name: &'static str, value: Option<f64>, ok: fn(f64) -> bool, range: &'static str| match value {
            Some(value) if !ok(value) => Err(Error::invalid(format!("{name} is {value}; it must be in {range}"))),
            _ => Ok(()),
        };
        range("temperature", self.temperature, |v| (0.0..=2.0).contains(&v), "[0, 2]")?;
        range("top_p", self.top_p, |v| v > 0.0 && v <= 1.0, "(0, 1]")?;
        range("min_p", self.min_p, |v| (0.0..=1.0).contains(&v), "[0, 1]")?;
        range("repetition_penalty", self.repetition_penalty, |v| v > 0.0 && v <= 2.0, "(0, 2]")?;
        if let Some((token, bias)) = self.logit_bias.iter().find(|(_, bias)| !(-100.0..=100.0).contains(*bias)) {
            return Err(Error::invalid(format!("logit_bias of token {token} is {bias}; it must be in [-100, 100]")));
        }
        if self.top_k == Some(0) {
            return Err(Error::invalid("top_k is 0; leave it out to sample from all tokens"));
        }
        if self.max_tokens == Some(0) {
            return Err(Error::invalid("max_tokens is 0; ask for at least one token"));
        }
        if self.stop.len() > 8 || self.stop.iter().any(String::is_empty) {
            return Err(Error::invalid("stop takes up to 8 texts, none of them empty"));
        }
        if self.logprobs.is_some_and(|n| n > 20) {
            return Err(Error::invalid("logprobs is at most 20"));
        }
        Ok(())
    }
}

/// JSON has texts for keys, and serde makes no numbers of them within a tagged request.
fn by_token<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<BTreeMap<u32, f32>, D::Error> {
    let texts = Option::<BTreeMap<String, f32>>::deserialize(deserializer)?.unwrap_or_default();
    let number = |text: &str| text.parse().map_err(|_| D::Error::custom(format!("\"{text}\" is no token number")));
    texts.into_iter().map(|(token, bias)| Ok((number(&token)?, bias))).collect()
}

/// Tokens that an image counts for at most: Claude's largest have 4,784.
pub(crate) const MOST_IMAGE_TOKENS: u64 = 5000;
/// Messages of a request that providers take a cache mark on.
const MOST_CACHE_MARKS: usize = 4;

/// What a chat model is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatRequest {
    /// The chat so far; the last message is what is answered. Where it is the assistant's, a local model writes on from
    /// there; what a remote one does is the provider's to say.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    pub tools: Vec<FunctionSpec>,
    /// Whether it calls some.
    pub tool_choice: ToolChoice,
    /// Whether it may call more than one at once. Default: as the model likes.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: ResponseFormat,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

impl ChatRequest {
    /// Checks what the fields document, as far as it does not depend on the model.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        self.sampling.validate()?;
        if self.messages.iter().filter(|message| message.cache.is_some()).count() > MOST_CACHE_MARKS {
            return Err(Error::invalid(format!("at most {MOST_CACHE_MARKS} messages of a request have `cache`")));
        }
        let named = |name: &str| self.tools.iter().any(|tool| tool.name == name);
        match &self.tool_choice {
            ToolChoice::Required if self.tools.is_empty() => {
                Err(Error::invalid("tool_choice asks for a call, and there are no tools; give some"))
            }
            ToolChoice::Tool(name) if !named(name) => {
                Err(Error::invalid(format!("tool_choice asks for \"{name}\", which is not among the tools; add it")))
            }
            _ => Ok(()),
        }
    }

    /// Asks `prompt`.
    pub fn user(prompt: impl Into<String>) -> Self {
        Self { messages: vec![Message::user(prompt)], ..Self::default() }
    }

    /// Bytes of everything that is sent, with some for what frames it, and the number of images.
    pub(crate) fn size(&self) -> (usize, u64) {
        let (mut bytes, mut images) = (0, 0);
        for message in &self.messages {
            bytes += message.content.len() + 12;
            images += message.images.len() as u64;
            let calls = message.tool_calls.iter();
            let beside = |call: &ToolCall| call.extra_content.as_ref().map_or(0, |more| more.to_string().len());
            bytes +=
                calls.map(|call| call.name.len() + call.arguments.to_string().len() + beside(call) + 24).sum::<usize>();
        }
        for tool in &self.tools {
            bytes += tool.name.len() + tool.description.len() + tool.parameters.to_string().len() + 24;
        }
        if let ResponseFormat::JsonSchema { name, schema } = &self.response_format {
            bytes += name.len() + schema.to_string().len();
        }
        (bytes, images)
    }

    /// Its tokens where no tokenizer tells, with twelve bytes a message for its frame.
    pub(crate) fn estimate_tokens(&self) -> u64 {
        estimate_tokens(self.messages.iter().map(|message| message.content.len() + 12).sum())
    }
}

/// Tokens of so many bytes of text where no tokenizer tells: one in three, rounded up, which is more than most texts
/// have.
pub(crate) fn estimate_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(3) as u64
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model was done, or met a stop text.
    Stop,
    /// `max_tokens` or the context was full.
    Length,
    /// The model wants tools called.
    ToolCalls,
    /// The provider withheld the answer.
    ContentFilter,
}

impl FinishReason {
    /// Its name in JSON, logs and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// The log-probability of one token of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The text of the token.
    pub token: String,
    /// Its natural log-probability before temperature and filters.
    pub logprob: f32,
    /// The likeliest tokens in its place, likeliest first.
    pub top: Vec<(String, f32)>,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delta {
    /// More text.
    Text {
        /// The text.
        text: String,
    },
    /// The log-probability of a token just written.
    Logprob {
        /// The token.
        logprob: TokenLogprob,
    },
    /// A tool call, whole.
    ToolCall {
        /// The call.
        call: ToolCall,
    },
    /// The name of the key that pays, where it is another than the profile says; before all else.
    PaidBy {
        /// The name, never the key itself.
        key: String,
    },
    /// The model writes what is not given out as it comes: a part of a tool call, or a thought. It is no silence, and it
    /// is billed.
    Progress {
        /// Bytes of it.
        bytes: usize,
    },
    /// What the provider says that the answer took, where an error may follow it. The last one counts.
    Usage {
        /// Tokens read and written.
        usage: Usage,
        /// Whether that is all of it: the answer ended, and is none.
        whole: bool,
    },
    /// The end; nothing follows.
    Done {
        /// Tokens read and written.
        usage: Usage,
        /// Why it ended.
        finish_reason: FinishReason,
    },
}

/// The pieces of an answer as they come. Dropping it stops the model at the next token.
pub type ChatStream = Pin<Box<dyn Stream<Item = Result<Delta>> + Send>>;

/// Answers chats.
///
/// # Contract
/// - `profile` never changes.
/// - `chat` checks the request before any work: `ContextLength` when it does not fit, `Unsupported` for a capability
///   the profile does not have, `Invalid` for sampling out of range. It returns once the model has begun, or earlier.
/// - The stream ends with exactly one [`Delta::Done`], or with one error. A stream that ends without either was cut
///   off, and [`collect`] says so.
/// - Dropping the stream, cancelling the context or its deadline stops the model at the next token.
#[async_trait]
pub trait ChatModel: Send + Sync + fmt::Debug + 'static {
    /// What it is.
    fn profile(&self) -> &ModelProfile;
    /// Answers `request`.
    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream>;
    /// Tokens the request has for this model; by default an estimate of one token in three bytes, rounded up.
    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        Ok(request.estimate_tokens())
    }
    /// Tokens that the request has at most: what budgets hold for, so that no call passes them. By default a token for each
    /// byte, which no text has more of, and 5,000 for each image; a model that counts exactly says less.
    fn most_tokens(&self, request: &ChatRequest) -> Result<u64> {
        let (bytes, images) = request.size();
        Ok(bytes as u64 + images * MOST_IMAGE_TOKENS)
    }
    /// What it did so far and holds now, when it runs in this process.
    fn local_statistics(&self) -> Option<LocalStatistics> {
        None
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatReply {
    /// The text.
    pub text: String,
    /// Tools the model wants called.
    pub tool_calls: Vec<ToolCall>,
    /// Log-probabilities, when asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Tokens read and written.
    pub usage: Usage,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// Reads `stream` to its end.
///
/// # Errors
/// What the stream ends with; `Unavailable`, retryable, when it was cut off.
pub async fn collect(mut stream: ChatStream) -> Result<ChatReply> {
    let (mut text, mut tool_calls, mut logprobs) = (String::new(), Vec::new(), Vec::new());
    while let Some(delta) = stream.next().await {
        match delta? {
            Delta::Text { text: more } => text.push_str(&more),
            Delta::Logprob { logprob } => logprobs.push(logprob),
            Delta::ToolCall { call } => tool_calls.push(call),
            Delta::PaidBy { .. } | Delta::Progress { .. } | Delta::Usage { .. } => {}
            Delta::Done { usage, finish_reason } => {
                return Ok(ChatReply { text, tool_calls, logprobs, usage, finish_reason });
            }
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the answer was cut off before its end").during("ChatModel::chat"))
}

/// A shared model is a model.
#[async_trait]
impl<M: ChatModel + ?Sized> ChatModel for Arc<M> {
    fn profile(&self) -> &ModelProfile {
        (**self).profile()
    }
    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        (**self).chat(cx, request).await
    }
    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        (**self).count_tokens(request)
    }
    fn most_tokens(&self, request: &ChatRequest) -> Result<u64> {
        (**self).most_tokens(request)
    }
    fn local_statistics(&self) -> Option<LocalStatistics> {
        (**self).local_statistics()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bias_is_by_token_numbers_within_its_range() {
        let read = |bias: Value| serde_json::from_value::<Sampling>(json!({ "logit_bias": bias }));
        let sampling = read(json!({"7": -100, "50256": 1.5})).unwrap();
        assert_eq!(sampling.logit_bias, BTreeMap::from([(7, -100.0), (50256, 1.5)]));
        assert!(sampling.validate().is_ok() && read(json!(null)).unwrap() == Sampling::default());
        assert!(read(json!({"hello": 1})).unwrap_err().to_string().contains("no token number"));
        for far in [100.5, -101.0, f32::NAN] {
            let sampling = Sampling { logit_bias: BTreeMap::from([(1, far)]), ..Sampling::default() };
            assert!(sampling.validate().unwrap_err().message().contains("logit_bias"));
        }
    }

    #[test]
    fn a_choice_of_tools_is_among_the_tools() {
        let asks = |tool_choice| ChatRequest { tool_choice, ..ChatRequest::user("x") };
        for choice in [ToolChoice::Required, ToolChoice::Tool("f".into())] {
            let mut request = asks(choice);
            assert!(request.validate().unwrap_err().message().contains("tool_choice"));
            request.tools.push(FunctionSpec::new("f"));
            request.validate().unwrap();
        }
        asks(ToolChoice::None).validate().unwrap();
        let read = |json: Value| serde_json::from_value::<ToolChoice>(json).unwrap();
        assert_eq!(read(json!("required")), ToolChoice::Required);
        assert_eq!(read(json!({"tool": "f"})), ToolChoice::Tool("f".into()));
    }

    #[test]
    fn no_text_has_more_tokens_than_what_is_held_for() {
        #[derive(Debug)]
        struct Estimates(ModelProfile);

        #[async_trait]
        impl ChatModel for Estimates {
            fn profile(&self) -> &ModelProfile {
                &self.0
            }
            async fn chat(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
                Ok(futures_util::stream::empty().boxed())
            }
        }
        let model = Estimates(ModelProfile::local("m", 10_000));
        let mut request = ChatRequest::user("7".repeat(3000));
        assert!(model.count_tokens(&request).unwrap() < 1100 && model.most_tokens(&request).unwrap() >= 3000);
        request.messages[0].images.push(ImageInput { url: "https://example.com/a.png".into() });
        assert!(model.most_tokens(&request).unwrap() >= 3000 + 4784);
    }

    #[test]
    fn no_more_marks_than_providers_take() {
        let marked = Message { cache: Some(CacheFor::OneHour), ..Message::user("x") };
        let request = |marks| ChatRequest { messages: vec![marked.clone(); marks], ..ChatRequest::default() };
        assert!(request(4).validate().is_ok() && request(5).validate().is_err());
        assert_eq!(serde_json::to_value(&marked).unwrap()["cache"], "1h");
    }
}
