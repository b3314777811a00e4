//! Errors on their way to JavaScript and back.
//!
//! An async function of napi can only reject with napi's own error, so an error of triune crosses as a JSON envelope
//! in its message, and `lib/errors.ts` throws the class for its code. What code of the user threw crosses as a
//! reference to the very object, and is thrown again as it is.

use serde::Deserialize;
use serde_json::{Value, json};
use triune::{Error, ErrorKind};

/// An error of triune that JavaScript will see.
#[derive(Debug)]
pub struct Thrown(Error);

impl From<Error> for Thrown {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Thrown> for napi::Error {
    fn from(Thrown(error): Thrown) -> Self {
        let envelope = envelope(&error);
        match error.into_source().map(<dyn std::error::Error + Send + Sync>::downcast::<napi::Error>) {
            Some(Ok(thrown)) => *thrown,
            _ => Self::from_reason(envelope.to_string()),
        }
    }
}

/// What a function answers that is not async: napi takes only its own error there.
pub(crate) fn answer<T>(work: impl FnOnce() -> Result<T, Thrown>) -> napi::Result<T> {
    work().map_err(Into::into)
}

fn envelope(error: &Error) -> Value {
    json!({
        "code": error.code(),
        "message": error.message(),
        "retryable": error.is_retryable(),
        "operation": error.operation(),
        "context": error.facts(),
    })
}

/// How `lib/errors.ts` describes what code of the user threw: the message of the object that the promise is rejected
/// with.
#[derive(Deserialize)]
struct HostFailure {
    /// The code of a `TriuneError`; absent for any other error.
    code: Option<String>,
    message: String,
    retryable: Option<bool>,
}

/// The error for what code of the user threw. A `TriuneError` keeps its code, so that the router may try again or
/// try another model; everything else is `Host`.
pub(crate) fn from_host(thrown: napi::Error) -> Error {
    let failure = serde_json::from_str(&thrown.reason).unwrap_or_else(|_| HostFailure {
        code: None,
        message: "the JavaScript side is gone, or its answer has another type than expected".into(),
        retryable: None,
    });
    let kind = |code: &str| ErrorKind::ALL.iter().copied().find(|kind| kind.code() == code);
    let kind = failure.code.as_deref().and_then(kind).unwrap_or(ErrorKind::Host);
    let error = Error::new(kind, failure.message).caused_by(thrown);
    match failure.retryable {
        Some(retryable) => error.retryable(retryable),
        None => error,
    }
}

/// Reads what JavaScript handed over.
pub(crate) fn read<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::invalid(format!("{what} cannot be read: {e}")))
}

/// The JSON text of an answer.
pub(crate) fn write<T: serde::Serialize>(answer: &T) -> Result<String, Error> {
    serde_json::to_string(answer).map_err(|e| Error::unexpected("an answer has no JSON form").caused_by(e))
}
