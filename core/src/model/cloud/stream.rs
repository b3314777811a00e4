//! From the events of a server to the pieces of an answer.

use std::collections::VecDeque;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::{
    client::{Client, not_understood},
    events::Events,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ChatStream, Delta, FinishReason, ToolCall},
};

/// Arguments of one tool call, in bytes.
const LONGEST_ARGUMENTS: usize = 4 << 20;
/// Tool calls of one answer.
const MOST_CALLS: usize = 128;

/// Reads the events of one answer. Pure, so that any event can be tested.
pub(super) trait Parser: Send + 'static {
    /// The pieces in one event.
    fn read(&mut self, data: &str) -> Result<Vec<Delta>, Unreadable>;
    /// Whether the last event was read.
    fn ended(&self) -> bool;
    /// The pieces after the last event; none when the answer was cut off.
    fn end(&mut self) -> Result<Vec<Delta>>;
}

/// An event that has no pieces of an answer.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is not of the protocol.
    Foreign,
    /// It is the provider's error.
    Refusal(Value),
    /// It is more than an answer may be.
    Failed(Error),
}

struct Reading<P> {
    cx: Context,
    client: Client,
    model: String,
    events: Events,
    parser: P,
    ready: VecDeque<Delta>,
    over: bool,
}

impl<P: Parser> Reading<P> {
    async fn next(&mut self) -> Result<Option<Delta>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Ok(Some(delta));
            }
            if self.over {
                return Ok(None);
            }
            let events = &mut self.events;
            match self.cx.run(async { events.next().await.transpose() }).await? {
                Some(data) => self.ready.extend(self.parser.read(&data).map_err(|e| self.error(e))?),
                None => self.over = true,
            }
            if self.over || self.parser.ended() {
                self.over = true;
                let rest = self.parser.end().map_err(|e| e.with("model", &self.model))?;
                self.ready.extend(rest);
            }
        }
    }

    fn error(&self, unreadable: Unreadable) -> Error {
        match unreadable {
            Unreadable::Foreign => not_understood(&self.model),
            Unreadable::Refusal(event) => self.client.stream_error(&event, &self.model),
            Unreadable::Failed(error) => error.with("model", &self.model),
        }
    }
}

/// The pieces that `parser` finds in `events`, which are paid by another key than the model's usual one where a name is
/// given. Dropping the stream drops the connection.
pub(super) fn deltas(
    cx: &Context,
    client: &Client,
    model: &str,
    (events, paid_by): (Events, Option<String>),
    parser: impl Parser,
) -> ChatStream {
    let reading = Reading {
        cx: cx.clone(),
        client: client.clone(),
        model: model.to_owned(),
        events,
        parser,
        ready: paid_by.map(|key| Delta::PaidBy { key }).into_iter().collect(),
        over: false,
    };
    let deltas = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await.transpose()? {
            Ok(delta) => Some((Ok(delta), Some(reading))),
            // Nothing follows an error.
            Err(error) => Some((Err(error), None)),
        }
    });
    deltas.boxed()
}

/// A tool call of which pieces have come.
#[derive(Debug, Default)]
pub(super) struct PartialCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl PartialCall {
    /// The whole call.
    ///
    /// # Errors
    /// `Rejected` when the model's arguments are not JSON; trying again may help, unless the answer was too short.
    pub(super) fn finish(self, finish_reason: FinishReason) -> Result<ToolCall> {
        let arguments = self.arguments.trim();
        let arguments =
            if arguments.is_empty() { Ok(Value::Object(serde_json::Map::new())) } else { arguments.parse() };
        let arguments = arguments.map_err(|_| {
            let cut = finish_reason == FinishReason::Length;
            let message = if cut {
                "the answer ended inside a tool call; allow more `max_tokens`"
            } else {
                "the model called a tool with arguments that are not JSON; try again, or another model"
            };
            Error::new(ErrorKind::Rejected, message).retryable(!cut)
        })?;
        Ok(ToolCall { id: self.id, name: self.name, arguments })
    }
}

/// Tool calls by their index in the answer.
#[derive(Debug, Default)]
pub(super) struct PartialCalls(std::collections::BTreeMap<u64, PartialCall>);

impl PartialCalls {
    /// The call at `index`, begun when it is new.
    pub(super) fn at(&mut self, index: u64) -> Result<&mut PartialCall, Unreadable> {
        let too_many = self.0.len() >= MOST_CALLS && !self.0.contains_key(&index);
        let too_long = self.0.get(&index).is_some_and(|call| call.arguments.len() > LONGEST_ARGUMENTS);
        if too_many || too_long {
            let error = Error::new(ErrorKind::Rejected, "the model's tool calls are more than any tool takes");
            return Err(Unreadable::Failed(error));
        }
        Ok(self.0.entry(index).or_default())
    }

    /// The call at `index`, if it was begun.
    pub(super) fn existing(&mut self, index: u64) -> Option<&mut PartialCall> {
        self.0.get_mut(&index)
    }

    /// All calls, whole, in order.
    pub(super) fn finish(&mut self, finish_reason: FinishReason) -> Result<Vec<Delta>> {
        let calls = std::mem::take(&mut self.0).into_values();
        calls.map(|call| Ok(Delta::ToolCall { call: call.finish(finish_reason)? })).collect()
    }

    /// Bytes that the calls have.
    pub(super) fn bytes(&self) -> usize {
        self.0.values().map(|call| call.name.len() + call.arguments.len()).sum()
    }
}
