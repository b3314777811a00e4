//! The one error of the crate: what to do about it (`kind`), where (`operation`), with what (`context`), why
//! (`source`) and whether to try again (`is_retryable`).

use std::{collections::BTreeMap, error::Error as StdError, fmt};

/// The result of everything in triune that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What caused an error: any error that may cross threads.
pub type Cause = Box<dyn StdError + Send + Sync>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $retryable:literal;)*) => {
        /// What a program can do about an error. The same set, with the same codes, exists in Python, Node and HTTP.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            /// Every kind, in the order of this file.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name of the kind in logs, metrics and the other two languages.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Whether an error of this kind may go away when the same call is made again later.
            const fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }
        }
    };
}

kinds! {
    /// The request cannot be right: mend it and call again.
    Invalid = "INVALID", false;
    /// What was named does not exist.
    NotFound = "NOT_FOUND", false;
    /// What was to be made exists already, or changed since it was read.
    Conflict = "CONFLICT", false;
    /// This part cannot do that; the message names one that can, or the feature that is missing.
    Unsupported = "UNSUPPORTED", false;
    /// A key is missing or was refused.
    Unauthorized = "UNAUTHORIZED", false;
    /// The other side asks to slow down.
    RateLimited = "RATE_LIMITED", true;
    /// A bounded queue of ours is full.
    Overloaded = "OVERLOADED", true;
    /// A deadline passed.
    Timeout = "TIMEOUT", true;
    /// The caller cancelled.
    Cancelled = "CANCELLED", false;
    /// The budget does not cover the call; nothing was spent on it.
    OverBudget = "OVER_BUDGET", false;
    /// The part failed too often and is left alone for a while.
    CircuitOpen = "CIRCUIT_OPEN", true;
    /// A gate or a guard refused what was generated.
    Rejected = "REJECTED", false;
    /// The request is longer than the model's context.
    ContextLength = "CONTEXT_LENGTH", false;
    /// Stored bytes are not what was written, or a file is not what it claims to be.
    Corrupt = "CORRUPT", false;
    /// The network, a server or a process is not there right now.
    Unavailable = "UNAVAILABLE", true;
    /// Code of the host (a Python or JavaScript function) failed; its own error is the source.
    Host = "HOST", false;
    /// A fault of triune itself: please report it.
    Unexpected = "UNEXPECTED", false;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An error, one word wide.
///
/// ```
/// use triune::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::NotFound, "no model named \"tiny\"; see `triune models list`")
///     .during("Router::route")
///     .with("asked", "tiny");
/// assert_eq!(error.code(), "NOT_FOUND");
/// assert!(!error.is_retryable());
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    operation: &'static str,
    context: Vec<(&'static str, String)>,
    source: Option<Cause>,
}

impl Error {
    /// An error of `kind`. `message` is for a person and says what to do next; it never holds a key or a prompt.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retryable: kind.retryable(),
            operation: "",
            context: Vec::new(),
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Shorthand for [`ErrorKind::Unexpected`].
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unexpected, message)
    }

    /// Names the operation that failed. The innermost name stays the operation; outer ones are kept as `via`.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        if self.0.operation.is_empty() {
            self.0.operation = operation;
        } else if self.0.operation != operation {
            self.0.context.push(("via", operation.into()));
        }
        self
    }

    /// Adds a fact. Never a key, a prompt or a text of the user.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// Says that trying again will not help, or will.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of the kind.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// The sentence for a person, without operation and context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The operation that failed, or an empty text.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Facts about the failure, in the order they were added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// The facts by name, as the languages of hosts have them: what is told twice is joined by a comma.
    pub fn facts(&self) -> BTreeMap<&'static str, String> {
        let mut facts = BTreeMap::<_, String>::new();
        for (name, value) in self.context() {
            let known = facts.entry(*name).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(value);
        }
        facts
    }

    /// Whether the same call may succeed later. False once a retry layer gave up.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Takes the cause out, so that a host gets its own exception back.
    pub fn into_source(self) -> Option<Cause> {
        self.0.source
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        let mut facts = Vec::new();
        if !self.0.operation.is_empty() {
            facts.push(format!("during {}", self.0.operation));
        }
        facts.extend(self.0.context.iter().map(|(name, value)| format!("{name}={value}")));
        if facts.is_empty() { Ok(()) } else { write!(f, " ({})", facts.join(", ")) }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const _: () = assert!(size_of::<Error>() == size_of::<usize>());
    const _: () = assert!(size_of::<Result<()>>() == size_of::<usize>());

    #[test]
    fn codes_are_unique_and_upper_case() {
        let codes: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_uppercase() || c == '_')));
    }

    #[test]
    fn the_innermost_operation_wins() {
        let error = Error::invalid("empty query").during("Recall::query").during("Triune::recall").with("top", 0);
        assert_eq!(error.to_string(), "INVALID: empty query (during Recall::query, via=Triune::recall, top=0)");
    }

    #[test]
    fn a_fact_that_is_told_twice_is_told_whole() {
        let error = Error::invalid("no").during("a").during("b").during("c").with("top", 0);
        let facts = error.facts();
        assert_eq!((facts["via"].as_str(), facts["top"].as_str()), ("b, c", "0"));
    }

    #[test]
    fn the_source_comes_back_as_the_same_object() {
        let error = Error::new(ErrorKind::Host, "boom").caused_by(std::io::Error::other("disk"));
        assert!(error.source().is_some());
        let cause = error.into_source().and_then(|cause| cause.downcast::<std::io::Error>().ok());
        assert_eq!(cause.map(|e| e.to_string()).as_deref(), Some("disk"));
    }
}
