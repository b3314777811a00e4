//! From bytes of tokens to text that may be shown: whole characters only, and never a part of a stop text.

/// Holds back what may not be shown yet.
#[derive(Debug)]
pub(super) struct TextOut {
    stops: Vec<String>,
    /// The beginning of a character whose end has not come; at most 3 bytes.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop text.
    held: String,
}

/// What came of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Text to show now; may be empty.
    pub(super) text: String,
    /// Whether a stop text was met: nothing more may be shown.
    pub(super) stopped: bool,
}

impl TextOut {
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, partial: Vec::new(), held: String::new() }
    }

    /// Takes the bytes of one more token.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Shown {
        self.partial.extend_from_slice(bytes);
        self.take_characters();
        let met = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = met {
            self.held.truncate(at);
            // What follows the stop text is never shown, not even as a broken character.
            self.partial.clear();
            return Shown { text: std::mem::take(&mut self.held), stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Shown { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Whether anything is held back.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty() || !self.partial.is_empty()
    }

    /// What was held back, once nothing more comes.
    pub(super) fn finish(&mut self) -> String {
        self.held.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.partial)));
        std::mem::take(&mut self.held)
    }

    /// Moves whole characters from `partial` to `held`; bytes that are no character become U+FFFD.
    fn take_characters(&mut self) {
        let mut taken = 0;
        for chunk in self.partial.utf8_chunks() {
            self.held.push_str(chunk.valid());
            taken += chunk.valid().len();
            let rest = &self.partial[taken..];
            if chunk.invalid().is_empty() || may_become_character(rest) {
                break;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            taken += chunk.invalid().len();
        }
        self.partial.drain(..taken);
    }
}

/// Whether `bytes` is a character that only lacks its end.
fn may_become_character(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
}

/// Length of the longest end of `text` that is a beginning of `stop`.
pub(super) fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    let ends = |length: usize| stop.is_char_boundary(length) && text.ends_with(&stop[..length]);
    (1..=longest).rev().find(|&length| ends(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut out = TextOut::new(stops.iter().map(ToString::to_string).collect());
        let mut texts = Vec::new();
        for piece in pieces {
            let shown = out.push(piece);
            texts.push(shown.text);
            if shown.stopped {
                return (texts, true);
            }
        }
        texts.push(out.finish());
        (texts, false)
    }

    #[test]
    fn half_characters_wait() {
        let (texts, _) = stream(&[], &[b"a\xf0\x9f", b"\x98", b"\x80b"]);
        assert_eq!(texts, ["a", "", "😀b", ""]);
        let (texts, _) = stream(&[], &[b"\xff\xc3", b"x", b"\xe2\x82"]);
        assert_eq!(texts.concat(), "\u{fffd}\u{fffd}x\u{fffd}");
    }

    #[test]
    fn a_stop_text_is_found_across_tokens_and_never_shown() {
        let (texts, stopped) = stream(&["END"], &[b"one E", b"N", b"D two"]);
        assert_eq!((texts.concat().as_str(), stopped), ("one ", true));
        let (texts, stopped) = stream(&["END"], &[b"one EN", b"OUGH"]);
        assert_eq!((texts.concat().as_str(), stopped), ("one ENOUGH", false));
        let mut out = TextOut::new(vec![" ".into()]);
        let shown = out.push(b"one \xe2\x80");
        assert_eq!((shown.text.as_str(), shown.stopped, out.finish().as_str()), ("one", true, ""));
        let (texts, stopped) = stream(&["a long stop", "\n"], &[b"x a long", b"\nmore"]);
        assert_eq!((texts.concat().as_str(), stopped), ("x a long", true));
        let (texts, _) = stream(&["é!"], &["caf\u{e9}".as_bytes(), b"?"]);
        assert_eq!(texts, ["caf", "é?", ""]);
    }

    proptest! {
        #[test]
        fn any_split_shows_the_same(text in "[abé😀 ]{0,30}", stop in "[abé]{1,3}", cuts in prop::collection::vec(0_usize..60, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (texts, stopped) = stream(&[&stop], &pieces);
            let expected = text.split(&stop).next().unwrap();
            prop_assert_eq!(texts.concat(), expected);
            prop_assert_eq!(stopped, text.contains(&stop));
        }
    }
}
