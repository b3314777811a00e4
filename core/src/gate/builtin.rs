//! The gates that come with triune.

/// Refuses what is empty or only white space.
#[derive(Clone, Copy, Debug, Default)]
pub struct NonEmptyGate;

/// Refuses JSON that does not parse, or does not fit the schema of the artifact.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonGate;

/// Refuses Rust, Python and JavaScript that does not parse.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyntaxGate;
