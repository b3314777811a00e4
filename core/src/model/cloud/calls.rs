//! Tool calls that come in pieces.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::stream::Unreadable;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Delta, FinishReason, ToolCall, Usage},
};

/// Arguments of one tool call, in bytes.
const LONGEST_ARGUMENTS: usize = 4 << 20;
/// Tool calls of one answer.
const MOST_CALLS: usize = 128;

/// A tool call of which pieces have come.
#[derive(Debug, Default)]
pub(super) struct PartialCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    pub(super) extra_content: Option<Value>,
}

impl PartialCall {
    /// The whole call.
    ///
    /// # Errors
    /// `Rejected` when the model's arguments are not JSON; trying again may help, unless the answer was too short.
    fn finish(self, finish_reason: FinishReason) -> Result<ToolCall> {
        let arguments = self.arguments.trim();
        let arguments = if arguments.is_empty() { Ok(Value::Object(Map::new())) } else { arguments.parse() };
        let arguments = arguments.map_err(|_| {
            let cut = finish_reason == FinishReason::Length;
            let message = if cut {
                "the answer ended inside a tool call; allow more `max_tokens`"
            } else {
                "the model called a tool with arguments that are not JSON; try again, or another model"
            };
            Error::new(ErrorKind::Rejected, message).retryable(!cut)
        })?;
        Ok(ToolCall { id: self.id, name: self.name, arguments, extra_content: self.extra_content })
    }

    /// Whether a piece with this `id` and `name` is of another call: some servers do not count their calls.
    fn ends_before(&self, id: &str, name: &str) -> bool {
        let other_id = !id.is_empty() && !self.id.is_empty() && id != self.id;
        let whole = || self.arguments.ends_with('}') && serde_json::from_str::<Map<_, _>>(&self.arguments).is_ok();
        let same_id = !id.is_empty() && id == self.id;
        !name.is_empty() && !self.name.is_empty() && (other_id || !same_id && whole())
    }
}

/// Tool calls by their index in the answer.
#[derive(Debug, Default)]
pub(super) struct PartialCalls {
    calls: BTreeMap<u64, PartialCall>,
    /// Where the call stands that has an index of the server's, when that is not its own.
    moved: BTreeMap<u64, u64>,
}

impl PartialCalls {
    /// The call at `index`, begun when it is new.
    pub(super) fn at(&mut self, index: u64) -> Result<&mut PartialCall, Unreadable> {
        let too_many = self.calls.len() >= MOST_CALLS && !self.calls.contains_key(&index);
        let too_long = self.calls.get(&index).is_some_and(|call| call.arguments.len() > LONGEST_ARGUMENTS);
        if too_many || too_long {
            let error = Error::new(ErrorKind::Rejected, "the model's tool calls are more than any tool takes");
            return Err(Unreadable::Failed(error));
        }
        Ok(self.calls.entry(index).or_default())
    }

    /// The call that a piece with this `id` and `name`, either of which may be empty, is of. Servers that do not count
    /// their calls say the same `index` for all of them.
    pub(super) fn of_piece(&mut self, index: u64, id: &str, name: &str) -> Result<&mut PartialCall, Unreadable> {
        let at = self.moved.get(&index).copied().unwrap_or(index);
        // A call that was moved to this place is not the one that the server counts there.
        let foreign = !self.moved.contains_key(&index) && self.moved.values().any(|moved| *moved == at);
        if !foreign && self.calls.get(&at).is_none_or(|call| !call.ends_before(id, name)) {
            return self.at(at);
        }
        let next = self.calls.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        self.moved.insert(index, next);
        self.at(next)
    }

    /// The call at `index`, if it was begun.
    pub(super) fn existing(&mut self, index: u64) -> Option<&mut PartialCall> {
        self.calls.get_mut(&index)
    }

    /// The last pieces of an answer that took `usage`: the calls, whole and in order, and the end. Where a call is none,
    /// what the answer took is told before the error.
    pub(super) fn end(&mut self, usage: Usage, finish_reason: FinishReason) -> (Vec<Delta>, Result<()>) {
        let calls = std::mem::take(&mut self.calls).into_values();
        let calls: Result<Vec<_>> =
            calls.map(|call| Ok(Delta::ToolCall { call: call.finish(finish_reason)? })).collect();
        match calls {
            Ok(mut deltas) => {
                // Some servers say `stop` also where tools are called.
                let calls = finish_reason == FinishReason::Stop && !deltas.is_empty();
                let finish_reason = if calls { FinishReason::ToolCalls } else { finish_reason };
                deltas.push(Delta::Done { usage, finish_reason });
                (deltas, Ok(()))
            }
            Err(error) => (vec![Delta::Usage { usage, whole: true }], Err(error)),
        }
    }

    /// Bytes that the calls have.
    pub(super) fn bytes(&self) -> usize {
        self.calls.values().map(|call| call.name.len() + call.arguments.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What becomes of pieces of index, id, name and arguments.
    fn calls(pieces: &[(u64, &str, &str, &str)]) -> Vec<(String, Value)> {
        let mut calls = PartialCalls::default();
        for (index, id, name, arguments) in pieces {
            let call = calls.of_piece(*index, id, name).unwrap();
            if call.name.is_empty() {
                call.name = (*name).into();
                call.id = (*id).into();
            }
            call.arguments.push_str(arguments);
        }
        let (deltas, end) = calls.end(Usage::default(), FinishReason::Stop);
        end.unwrap();
        let call = |delta| match delta {
            Delta::ToolCall { call } => Some((call.name, call.arguments)),
            _ => None,
        };
        deltas.into_iter().filter_map(call).collect()
    }

    #[test]
    fn calls_that_the_server_does_not_count_are_told_apart() {
        let two = [("f".to_owned(), json!({"a": 1})), ("g".to_owned(), json!({"b": 2}))];
        for (one, other) in [("c1", "c2"), ("", "")] {
            let whole = [(0, one, "f", "{\"a\":1}"), (0, other, "g", "{\"b\":2}")];
            assert_eq!(calls(&whole), two);
        }
        let in_pieces = [(0, "c1", "f", "{\"a\""), (0, "", "", ":1}"), (0, "c2", "g", "{\"b\""), (0, "", "", ":2}")];
        assert_eq!(calls(&in_pieces), two);
        let then_counted = [(0, "c1", "f", "{\"a\":1}"), (0, "c2", "g", "{\"b\":2}"), (1, "c3", "h", "{}")];
        assert_eq!(calls(&then_counted)[..2], two);
        assert_eq!(calls(&then_counted).len(), 3);
    }

    #[test]
    fn a_call_whose_name_and_id_are_said_again_stays_one() {
        let again = [(0, "c1", "f", "{"), (0, "c1", "f", "\"a\":{}"), (0, "c1", "f", "}"), (0, "c1", "f", " ")];
        assert_eq!(calls(&again), [("f".to_owned(), json!({"a": {}}))]);
        let new_ids = [(0, "c1", "f", "{\"a\":1"), (0, "c2", "", "}")];
        assert_eq!(calls(&new_ids).len(), 1, "a call has a name");
    }
}
