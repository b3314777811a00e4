//! Remote models by wire protocol.
