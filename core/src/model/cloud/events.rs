//! Server-sent events, with bounds on what a server can make us keep.

use std::{io, pin::Pin};

use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt};
use reqwest::Response;

use super::client::broken;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of one event.
const ONE_EVENT: usize = 4 << 20;
/// Bytes of a whole stream.
const ALL_EVENTS: usize = 256 << 20;

/// The data of each event as it comes.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<String>> + Send>>;

/// Counts bytes until an event ends.
#[derive(Debug, Default)]
struct Bounds {
    event: usize,
    all: usize,
    line_has_text: bool,
}

impl Bounds {
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.all += bytes.len();
        for byte in bytes {
            self.event += 1;
            match byte {
                b'\n' if self.line_has_text => self.line_has_text = false,
                b'\n' => self.event = 0,
                b'\r' => {}
                _ => self.line_has_text = true,
            }
            if self.event > ONE_EVENT {
                return false;
            }
        }
        self.all <= ALL_EVENTS
    }
}

/// The events of `response`. Dropping the stream closes the connection, and with it the work of the server.
pub(super) fn events(response: Response, model: &str) -> Events {
    let mut bounds = Bounds::default();
    let name = model.to_owned();
    let bytes = response.bytes_stream().map(move |bytes| match bytes {
        Ok(bytes) if bounds.take(&bytes) => Ok(bytes),
        Ok(_) => Err(Error::new(ErrorKind::Unavailable, "the server's answer is larger than any answer is")
            .retryable(false)
            .with("model", &name)),
        Err(e) => Err(broken(e, &name)),
    });
    // The crate wants errors of the standard library; ours travels inside and comes out again.
    let bytes = bytes.map(|bytes| bytes.map_err(io::Error::other));
    let model = model.to_owned();
    let events = bytes.eventsource().map(move |event| match event {
        Ok(event) => Ok(event.data),
        Err(EventStreamError::Transport(e)) => Err(e
            .into_inner()
            .and_then(|inner| inner.downcast::<Error>().ok())
            .map_or_else(|| Error::unexpected("an error of the connection was lost"), |error| *error)),
        Err(_) => Err(super::client::not_understood(&model)),
    });
    events.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_endless_event_is_refused_and_many_short_ones_are_not() {
        let mut bounds = Bounds::default();
        let event = b"data: x\r\n\r\n".repeat(1000);
        assert!((0..1000).all(|_| bounds.take(&event)));
        assert!(!(0..5).all(|_| bounds.take(&vec![b'a'; 1 << 20])));
        let mut lines = Bounds::default();
        let line = [b"data: ".repeat(1000), b"\n".to_vec()].concat();
        assert!(!(0..1000).all(|_| lines.take(&line)), "many lines of one event are one event");
    }

    proptest! {
        #[test]
        fn what_is_counted_does_not_depend_on_the_pieces(text in "[a\r\n]{0,64}", at in 0usize..64) {
            let at = at.min(text.len());
            let (mut whole, mut pieces) = (Bounds::default(), Bounds::default());
            whole.take(text.as_bytes());
            pieces.take(&text.as_bytes()[..at]);
            pieces.take(&text.as_bytes()[at..]);
            prop_assert_eq!((whole.event, whole.all), (pieces.event, pieces.all));
        }
    }
}
