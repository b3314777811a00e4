//! From the events of a server to the pieces of an answer.

use std::{collections::VecDeque, time::Duration};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    client::{Client, not_understood},
    events::Events,
};
use crate::{
    context::Context,
    error::{Error, Result},
    model::{ChatStream, Delta},
};

/// How long a server may take, after the end of an answer, to say what it took.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Reads the events of one answer. Pure, so that any event can be tested.
pub(super) trait Parser: Send + 'static {
    /// The pieces in one event.
    fn read(&mut self, data: &str) -> Result<Vec<Delta>, Unreadable>;
    /// Whether the last event was read.
    fn ended(&self) -> bool;
    /// Whether the answer is whole, though the server may go on to say what it took.
    fn finished(&self) -> bool;
    /// The pieces after the last event; none when the answer was cut off. After them comes the error, if any.
    fn end(&mut self) -> (Vec<Delta>, Result<()>);
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
    /// Until when the last event is waited for, once the answer is whole.
    until: Option<Instant>,
    over: bool,
    /// What comes after the last piece.
    fault: Option<Error>,
}

impl<P: Parser> Reading<P> {
    async fn next(&mut self) -> Result<Option<Delta>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Ok(Some(delta));
            }
            if self.over {
                return self.fault.take().map_or(Ok(None), Err);
            }
            match self.event().await? {
                Some(data) => match self.parser.read(&data) {
                    Ok(deltas) => {
                        if !deltas.is_empty() {
                            self.until = None;
                        }
                        self.ready.extend(deltas);
                    }
                    Err(Unreadable::Foreign) if self.parser.finished() => self.over = true,
                    Err(unreadable) => return Err(self.error(unreadable)),
                },
                None => self.over = true,
            }
            if self.over || self.parser.ended() {
                self.over = true;
                let (rest, end) = self.parser.end();
                self.ready.extend(rest);
                self.fault = end.err().map(|e| e.with("model", &self.model));
            }
        }
    }

    /// The next event; none after the last. What happens to the connection after the end of an answer takes nothing of it
    /// away.
    async fn event(&mut self) -> Result<Option<String>> {
        let events = &mut self.events;
        if !self.parser.finished() {
            return self.cx.run(async { events.next().await.transpose() }).await;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + LAST_WORDS);
        let next = self.cx.run(async { Ok(timeout_at(until, events.next()).await) }).await?;
        Ok(match next {
            Ok(Some(Ok(data))) => Some(data),
            Ok(None) => None,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "the connection broke after the end of the answer");
                None
            }
            Err(_) => {
                tracing::debug!("the server did not end its stream after the end of the answer");
                None
            }
        })
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
        until: None,
        over: false,
        fault: None,
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
