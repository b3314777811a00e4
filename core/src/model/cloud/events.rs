//! Server-sent events (WHATWG HTML, section 9.2), with bounds on what a server can make us keep.

use std::{collections::VecDeque, pin::Pin};

use futures_util::{Stream, StreamExt, stream};
use reqwest::Response;
use serde::de::IgnoredAny;

use super::client::{broken, not_understood};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of one event.
const ONE_EVENT: usize = 4 << 20;
/// Bytes of a whole stream.
const ALL_EVENTS: usize = 256 << 20;
/// What may stand before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The data of each event as it comes.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<String>> + Send>>;

/// Puts events together from bytes, however they are cut.
#[derive(Debug, Default)]
struct Assembler {
    /// The line that has begun.
    line: Vec<u8>,
    /// Whether a line ended with the last byte, a carriage return: a line feed then belongs to it.
    after_return: bool,
    past_first: bool,
    /// The data of the event that has begun.
    data: String,
    /// Bytes of that event.
    event: usize,
    all: usize,
    ready: VecDeque<String>,
}

/// Why bytes are no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLarge,
    NotText,
}

impl Assembler {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.all += bytes.len();
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let line = &rest[..end.unwrap_or(rest.len())];
            self.event += line.len() + 1;
            if self.event > ONE_EVENT || self.all > ALL_EVENTS {
                return Err(Fault::TooLarge);
            }
            self.line.extend_from_slice(line);
            let Some(end) = end else { break };
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.end_line()?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.line);
        let marked = !std::mem::replace(&mut self.past_first, true);
        let line = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| marked).unwrap_or(&line);
        if line.is_empty() {
            self.end_event();
            return Ok(());
        }
        let line = std::str::from_utf8(line).map_err(|_| Fault::NotText)?;
        // Names, numbers and comments say nothing that the data does not.
        if let ("data", data) = line.split_once(':').unwrap_or((line, "")) {
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            self.data.push('\n');
        }
        Ok(())
    }

    fn end_event(&mut self) {
        self.event = 0;
        let mut data = std::mem::take(&mut self.data);
        data.pop();
        // A sign of life of some proxies.
        if !data.trim().is_empty() {
            self.ready.push_back(data);
        }
    }

    /// No byte follows. Some servers leave out the blank line after their last event; one that is not whole is none.
    fn end(&mut self) {
        let _ = self.end_line();
        let data = self.data.trim();
        if data == "[DONE]" || serde_json::from_str::<IgnoredAny>(data).is_ok() {
            self.end_event();
        }
    }
}

/// The events of `response`. Dropping the stream closes the connection, and with it the work of the server.
pub(super) fn events(response: Response, model: &str) -> Events {
    let state = Some((response.bytes_stream(), Assembler::default(), model.to_owned()));
    let events = stream::unfold(state, |state| async {
        let (mut bytes, mut assembler, model) = state?;
        loop {
            if let Some(data) = assembler.ready.pop_front() {
                return Some((Ok(data), Some((bytes, assembler, model))));
            }
            let fault = match bytes.next().await {
                Some(Ok(more)) => match assembler.take(&more) {
                    Ok(()) => continue,
                    Err(Fault::NotText) => not_understood(&model),
                    Err(Fault::TooLarge) => {
                        Error::new(ErrorKind::Unavailable, "the server's answer is larger than any answer is")
                            .retryable(false)
                            .with("model", &model)
                    }
                },
                Some(Err(e)) => broken(e, &model),
                None => {
                    assembler.end();
                    let last = assembler.ready.pop_front()?;
                    return Some((Ok(last), None));
                }
            };
            return Some((Err(fault), None));
        }
    });
    events.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let mut assembler = Assembler::default();
        for piece in pieces {
            assembler.take(piece).unwrap();
        }
        assembler.end();
        assembler.ready.into()
    }

    #[test]
    fn lines_of_one_event_are_joined_and_other_fields_left_out() {
        let text = b": hello\r\nevent: x\r\ndata: a\r\ndata:b\n\nid: 1\n\ndata: c\rdata\r\r";
        assert_eq!(read(&[text]), ["a\nb", "c\n"]);
    }

    #[test]
    fn a_byte_order_mark_may_stand_first_and_come_in_pieces() {
        assert_eq!(read(&[b"\xEF\xBB\xBFdata: 1\n\n"]), ["1"]);
        assert_eq!(read(&[b"\xEF", b"\xBB", b"\xBFda", b"ta: 1\n\n"]), ["1"]);
        assert_eq!(read(&[b"data: 1\n\n\xEF\xBB\xBFdata: 2\n\n"]), ["1"], "only first");
    }

    #[test]
    fn events_without_data_are_none_and_the_last_one_needs_no_blank_line() {
        assert_eq!(read(&[b"data:\n\ndata: \n\ndata: {\"a\": 1}\n\n"]), ["{\"a\": 1}"]);
        assert_eq!(read(&[b"data: 1\n\ndata: {\"a\": 1}"]), ["1", "{\"a\": 1}"]);
        assert_eq!(read(&[b"data: 1\n\ndata: [DONE]\n"]), ["1", "[DONE]"]);
        assert_eq!(read(&[b"data: 1\n\ndata: {\"a\":"]), ["1"], "half an event is none");
    }

    #[test]
    fn an_endless_event_is_refused_and_many_short_ones_are_not() {
        let mut events = Assembler::default();
        let event = b"data: x\r\n\r\n".repeat(1000);
        assert!((0..1000).all(|_| events.take(&event).is_ok()));
        assert!((0..5).any(|_| events.take(&vec![b'a'; 1 << 20]) == Err(Fault::TooLarge)));
        let mut lines = Assembler::default();
        let line = [b"data: ".repeat(1000), b"\n".to_vec()].concat();
        assert!((0..1000).any(|_| lines.take(&line).is_err()), "many lines of one event are one event");
        assert_eq!(Assembler::default().take(b"data: \xFF\n"), Err(Fault::NotText));
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_the_pieces(text in "(data: ?|\u{FEFF}|[aü:]|\r|\n){0,40}", cuts in prop::collection::vec(0usize..80, 0..4)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut from = 0;
            let pieces: Vec<_> = cuts.iter().chain([&bytes.len()]).map(|cut| &bytes[std::mem::replace(&mut from, *cut)..*cut]).collect();
            prop_assert_eq!(read(&[bytes]), read(&pieces));
        }
    }
}
