//! Chat models written in Python.

use std::collections::VecDeque;

use async_trait::async_trait;
use futures_util::stream;
use pyo3::types::PyString;
use serde::Deserialize;
use triune::{
    Context, Error, ErrorKind, Result,
    model::{
        ChatModel, ChatRequest, ChatStream, Delta, FinishReason, ModelProfile, ResponseFormat, TokenLogprob, ToolCall,
        Usage,
    },
};

use crate::{
    host::{HostCall, HostPieces, attached, read, write},
    scope::Scope,
};

/// A model of the host: a callable that takes a chat request as JSON and answers a [`Piece`] as JSON, or an iterator
/// over some.
#[derive(Debug)]
pub(crate) struct HostModel {
    profile: ModelProfile,
    chat: HostCall,
}

/// Some, or all, of an answer.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Piece {
    text: String,
    tool_calls: Vec<ToolCall>,
    logprobs: Vec<TokenLogprob>,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
}

impl HostModel {
    pub(crate) fn new(profile: &str, chat: HostCall) -> Result<Self> {
        let profile = serde_json::from_str(profile)
            .map_err(|error| Error::invalid(format!("the profile of the model has another form: {error}")))?;
        Ok(Self { profile, chat })
    }

    /// What the contract of a chat model asks to be checked before any work.
    fn check(&self, request: &ChatRequest) -> Result<()> {
        request.sampling.validate()?;
        let can = self.profile.capabilities;
        let lacks = [
            ("tools", !can.tools && !request.tools.is_empty()),
            ("json_schema", !can.json_schema && matches!(request.response_format, ResponseFormat::JsonSchema { .. })),
            ("grammar", !can.grammar && request.response_format.needs_grammar()),
            ("images", !can.images && request.messages.iter().any(|message| !message.images.is_empty())),
            ("logprobs", !can.logprobs && request.sampling.logprobs.is_some()),
        ];
        if let Some((capability, _)) = lacks.iter().find(|(_, lacking)| *lacking) {
            let text =
                format!("the profile of the model does not have the capability \"{capability}\"; choose another");
            return Err(Error::new(ErrorKind::Unsupported, text).with("model", &self.profile.id));
        }
        let tokens = self.count_tokens(request)?;
        if tokens >= self.profile.context_length {
            let text = "the request is longer than the context of the model; shorten it or choose another model";
            return Err(Error::new(ErrorKind::ContextLength, text)
                .with("model", &self.profile.id)
                .with("tokens", tokens)
                .with("context_length", self.profile.context_length));
        }
        Ok(())
    }
}

/// Where the pieces of an answer come from.
enum Source {
    Whole(Option<String>),
    Pieces(HostPieces),
}

impl Source {
    async fn next(&mut self) -> Result<Option<Piece>> {
        let text = match self {
            Self::Whole(text) => text.take(),
            Self::Pieces(pieces) => pieces.next().await?,
        };
        text.map(|text| read("the model answered in another form", &text)).transpose()
    }
}

/// An answer on its way.
struct Answer {
    cx: Context,
    source: Source,
    ready: VecDeque<Delta>,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
    input_tokens: u64,
    bytes: usize,
    called: bool,
    ended: bool,
}

impl Answer {
    async fn next(&mut self) -> Result<Option<Delta>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Ok(Some(delta));
            }
            if self.ended {
                return Ok(None);
            }
            match self.cx.run(self.source.next()).await? {
                Some(piece) => self.take(piece),
                None => return Ok(Some(self.done())),
            }
        }
    }

    fn take(&mut self, piece: Piece) {
        self.bytes += piece.text.len();
        self.called |= !piece.tool_calls.is_empty();
        self.usage = piece.usage.or(self.usage);
        self.finish_reason = piece.finish_reason.or(self.finish_reason);
        if !piece.text.is_empty() {
            self.ready.push_back(Delta::Text { text: piece.text });
        }
        self.ready.extend(piece.logprobs.into_iter().map(|logprob| Delta::Logprob { logprob }));
        self.ready.extend(piece.tool_calls.into_iter().map(|call| Delta::ToolCall { call }));
    }

    fn done(&mut self) -> Delta {
        self.ended = true;
        // The estimate of `ChatModel::count_tokens`, for models that do not count.
        let estimate = Usage::of(self.input_tokens, self.bytes.div_ceil(3) as u64);
        let usual = if self.called { FinishReason::ToolCalls } else { FinishReason::Stop };
        Delta::Done { usage: self.usage.unwrap_or(estimate), finish_reason: self.finish_reason.unwrap_or(usual) }
    }
}

#[async_trait]
impl ChatModel for HostModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        self.check(&request)?;
        let answer = cx.run(self.chat.call(cx, write(&request)?)).await?;
        let event_loop = self.chat.event_loop().clone();
        let scope = Scope::new(cx, &event_loop);
        let source = attached(move |py| {
            let answer = answer.bind(py);
            match answer.cast::<PyString>() {
                Ok(text) => Ok(Source::Whole(Some(text.to_string()))),
                Err(_) => Ok(Source::Pieces(HostPieces::new(answer, &event_loop, scope)?)),
            }
        });
        let answer = Answer {
            cx: cx.clone(),
            source: source.await?,
            ready: VecDeque::new(),
            usage: None,
            finish_reason: None,
            input_tokens: self.count_tokens(&request)?,
            bytes: 0,
            called: false,
            ended: false,
        };
        Ok(Box::pin(stream::try_unfold(answer, |mut answer| async move {
            Ok(answer.next().await?.map(|delta| (delta, answer)))
        })))
    }
}
