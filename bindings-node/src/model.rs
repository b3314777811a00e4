//! Chat models that are written in JavaScript.

use std::{collections::VecDeque, fmt};

use async_trait::async_trait;
use futures_util::stream;
use serde::Deserialize;
use triune::{
    Context, Error, ErrorKind, Result,
    model::{
        ChatModel, ChatRequest, ChatStream, Delta, FinishReason, ModelProfile, ResponseFormat, TokenLogprob, ToolCall,
        Usage,
    },
};

use crate::{
    error::{Thrown, read, write},
    host::{Host, HostCallback, Turn},
};

/// What is asked for the next piece of a streamed answer.
const NEXT: &str = "next";

/// A chat model of the user.
pub(crate) struct HostModel {
    profile: ModelProfile,
    host: Host<String>,
}

impl HostModel {
    pub(crate) fn new(profile: &str, callback: &HostCallback<'_, String>) -> Result<Self, Thrown> {
        Ok(Self { profile: read("the profile of the model", profile)?, host: Host::new(callback)? })
    }

    fn check(&self, request: &ChatRequest, input_tokens: u64) -> Result<()> {
        request.sampling.validate()?;
        let can = self.profile.capabilities;
        let missing = [
            (!can.tools && !request.tools.is_empty(), "tools"),
            (!can.json_schema && matches!(request.response_format, ResponseFormat::JsonSchema { .. }), "jsonSchema"),
            (!can.grammar && request.response_format.needs_grammar(), "grammar"),
            (!can.images && request.messages.iter().any(|message| !message.images.is_empty()), "images"),
            (!can.logprobs && request.sampling.logprobs.is_some(), "logprobs"),
        ];
        if let Some((_, name)) = missing.iter().find(|(missing, _)| *missing) {
            let message = format!("the model's profile does not have the capability \"{name}\"; ask another model");
            return Err(Error::new(ErrorKind::Unsupported, message).with("model", &self.profile.id));
        }
        if input_tokens >= self.profile.context_length {
            let message = "the request is longer than the context of the model; shorten it or ask another model";
            return Err(Error::new(ErrorKind::ContextLength, message)
                .with("model", &self.profile.id)
                .with("tokens", input_tokens)
                .with("context_length", self.profile.context_length));
        }
        Ok(())
    }
}

impl fmt::Debug for HostModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostModel").field("id", &self.profile.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl ChatModel for HostModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let input_tokens = self.count_tokens(&request)?;
        self.check(&request, input_tokens)?;
        let turn = self.host.turn();
        let first = cx.run(turn.ask(cx, write(&request)?)).await?;
        let mut answer = HostAnswer {
            cx: cx.clone(),
            turn: Some(turn),
            ready: VecDeque::new(),
            estimate: Usage { input_tokens, ..Usage::default() },
            bytes: 0,
            called_tools: false,
        };
        answer.take(&first)?;
        Ok(Box::pin(stream::unfold(answer, |mut answer| async {
            let delta = answer.next().await?;
            Some((delta, answer))
        })))
    }
}

/// A piece of an answer, or all of it, as `lib/host.ts` hands it over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    #[serde(default)]
    text: String,
    #[serde(default)]
    tool_calls: Vec<ToolCall>,
    #[serde(default)]
    logprobs: Vec<TokenLogprob>,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
    /// Whether another piece can be asked for.
    #[serde(default)]
    more: bool,
}

/// An answer on its way. Dropping it aborts the user's code.
struct HostAnswer {
    cx: Context,
    /// None once the answer has ended.
    turn: Option<Turn<String>>,
    ready: VecDeque<Delta>,
    /// What is reported when the model does not count its tokens: one token in three bytes.
    estimate: Usage,
    bytes: usize,
    called_tools: bool,
}

impl HostAnswer {
    async fn next(&mut self) -> Option<Result<Delta>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Some(Ok(delta));
            }
            let answer = self.cx.run(self.turn.as_ref()?.ask(&self.cx, NEXT.into())).await;
            if let Err(error) = answer.and_then(|piece| self.take(&piece)) {
                self.turn = None;
                return Some(Err(error));
            }
        }
    }

    fn take(&mut self, piece: &str) -> Result<()> {
        let piece: Piece = read("the answer of the model", piece)
            .map_err(|e| Error::new(ErrorKind::Host, e.message().to_owned()).during("ChatModel::chat"))?;
        self.bytes += piece.text.len();
        self.called_tools |= !piece.tool_calls.is_empty();
        if !piece.text.is_empty() {
            self.ready.push_back(Delta::Text { text: piece.text });
        }
        self.ready.extend(piece.logprobs.into_iter().map(|logprob| Delta::Logprob { logprob }));
        self.ready.extend(piece.tool_calls.into_iter().map(|call| Delta::ToolCall { call }));
        if !piece.more {
            let usage = piece.usage.unwrap_or(Usage { output_tokens: self.bytes.div_ceil(3) as u64, ..self.estimate });
            let usual = if self.called_tools { FinishReason::ToolCalls } else { FinishReason::Stop };
            self.ready.push_back(Delta::Done { usage, finish_reason: piece.finish_reason.unwrap_or(usual) });
            if let Some(turn) = self.turn.take() {
                turn.end();
            }
        }
        Ok(())
    }
}
