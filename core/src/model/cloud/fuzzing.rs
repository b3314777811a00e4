//! What the fuzz targets of `tests/fuzz` ask of remote models.
#![allow(missing_docs, reason = "a fuzz target tells by panicking")]

use super::{anthropic, openai, stream::Parser};

/// The events of a stream, a line each, as each provider's protocol.
pub fn events(lines: &str) {
    read(openai::chat_parser(), lines);
    read(openai::response_parser(), lines);
    read(anthropic::message_parser(), lines);
}

fn read(mut parser: impl Parser, lines: &str) {
    for line in lines.lines() {
        if parser.ended() || parser.read(line).is_err() {
            break;
        }
    }
    // An error where the answer was cut off.
    let _ = parser.end();
}
