//! In-process models on candle.
