//! A progress bar for pulls.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::model::source::Progress;

const BAR: &str = "{msg:32} {bar:24} {bytes:>11} / {total_bytes:11} {bytes_per_sec:>12} {eta:>4}";
const SPINNER: &str = "{msg:32} {spinner} {bytes:>11} {bytes_per_sec:>12}";

/// One bar at a time, on stderr; nothing where stderr is no terminal.
#[derive(Debug, Default)]
pub(super) struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Leaves the last bar as it is.
    pub(super) fn finish(&self) {
        self.with(|bar| bar.take().iter().for_each(ProgressBar::abandon));
    }
}

impl Progress for Bar {
    fn begin(&self, file: &str, done: u64, total: Option<u64>) {
        self.finish();
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template(if total.is_some() { BAR } else { SPINNER }) {
            bar.set_style(style);
        }
        bar.set_message(file.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        self.with(|current| *current = Some(bar));
    }

    fn advance(&self, bytes: u64) {
        self.with(|bar| bar.iter().for_each(|bar| bar.inc(bytes)));
    }

    fn note(&self, text: &str) {
        self.finish();
        super::print::tell(text);
    }
}
