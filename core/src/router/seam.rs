//! Where an answer that broke off goes on in the words of another model: what is asked of it, and the join of both.

use crate::{
    error::{Error, ErrorKind, Result},
    model::{ChatRequest, Message, ModelProfile, ResponseFormat, Role},
};

const GO_ON: &str = "Your last message broke off. Go on exactly where it stops: write only what comes next, and repeat \
                     nothing of it. Add no introduction.";
/// Bytes that the next model's text and the end of the last one's must have in common to be a repetition.
const REPEATED: usize = 12;
/// Bytes of a last word that a model is asked to write again: a longer one is no word but an address or the like, and is
/// gone on with as it stands.
const LONGEST_WORD: usize = 24;
/// Bytes in common with the beginning of the answer that say that the model began anew.
const BEGUN_ANEW: usize = 32;

/// Whether an answer to `request` can go on after a part of it was given out. A part of a form or of a tool call cannot:
/// what fits behind it is not for a model to guess.
pub(super) fn can_go_on(request: &ChatRequest) -> bool {
    request.response_format == ResponseFormat::Text && request.sampling.logprobs.is_none()
}

/// What is asked of the model of `profile` so that it goes on after `given`, and the seam that its answer is joined at.
///
/// A model of this process is given the text as its own and writes the next token. Others are told to go on: that all of
/// them understand, while many refuse a chat whose last message is not the user's.
pub(super) fn go_on(profile: &ModelProfile, request: &ChatRequest, given: &str) -> (ChatRequest, Seam) {
    let mut request = request.clone();
    if profile.provider == "triune" {
        request.messages.push(Message::new(Role::Assistant, given));
        return (request, Seam { exact: true, ..Seam::new(given) });
    }
    let seam = Seam::new(given);
    // The last word may be half of one: the model writes it again, and the seam finds it.
    let shown = given[..given.len() - seam.last_word.len()].trim_end();
    if !shown.is_empty() {
        request.messages.push(Message::new(Role::Assistant, shown));
        request.messages.push(Message::user(GO_ON));
    }
    (request, seam)
}

/// Joins the next model's text to what was given out, without what it repeats. Text is held back until it is clear
/// whether it is a repetition.
#[derive(Clone, Debug)]
pub(super) struct Seam {
    given: String,
    last_word: String,
    /// Whether the next token follows the last one as it is.
    exact: bool,
    held: String,
    joined: bool,
}

impl Seam {
    fn new(given: &str) -> Self {
        let between = |c: char| c.is_whitespace() || is_unspaced(c);
        let word_at = given.rfind(between).map_or(0, |at| at + given[at..].chars().next().map_or(0, char::len_utf8));
        let last_word = if given.len() - word_at > LONGEST_WORD { "" } else { &given[word_at..] };
        Self {
            given: given.to_owned(),
            last_word: last_word.to_owned(),
            exact: false,
            held: String::new(),
            joined: false,
        }
    }

    /// What of `text` is new; empty while that is not clear.
    ///
    /// # Errors
    /// `Rejected` when the model began its answer anew, in other words than those that were given out.
    pub(super) fn join(&mut self, text: &str) -> Result<String> {
        if self.joined || self.exact {
            return Ok(text.to_owned());
        }
        self.held.push_str(text);
        let held = self.held.trim_start();
        let perhaps_anew = self.given.trim_start().starts_with(held);
        let perhaps_repeats = self.tails().any(|tail| tail.len() > held.len() && tail.starts_with(held));
        if perhaps_anew || perhaps_repeats {
            return Ok(String::new());
        }
        self.decide()
    }

    /// What was held back, after the model's last word.
    ///
    /// # Errors
    /// As for [`Seam::join`].
    pub(super) fn end(&mut self) -> Result<String> {
        if self.joined || self.exact { Ok(String::new()) } else { self.decide() }
    }

    fn decide(&mut self) -> Result<String> {
        self.joined = true;
        let held = self.held.trim_start();
        let given = self.given.trim_start();
        if let Some(new) = held.strip_prefix(given) {
            return Ok(new.to_owned());
        }
        if let Some(new) = self.tails().find_map(|tail| held.strip_prefix(tail)) {
            return Ok(new.to_owned());
        }
        let common = given.bytes().zip(held.bytes()).take_while(|(a, b)| a == b).count();
        if common >= BEGUN_ANEW {
            let message = "the model began an answer anew that was to go on";
            return Err(Error::new(ErrorKind::Rejected, message));
        }
        let blank_before = self.given.is_empty() || self.given.ends_with(char::is_whitespace);
        let words = !self.last_word.is_empty() && held.starts_with(|c: char| c.is_alphanumeric() && !is_unspaced(c));
        Ok(if blank_before {
            held.to_owned()
        } else if words && !self.held.starts_with(char::is_whitespace) {
            format!(" {held}")
        } else {
            self.held.clone()
        })
    }

    /// Ends of what was given that would be a repetition, longest first: the last word, which is asked for, or more.
    fn tails(&self) -> impl Iterator<Item = &str> {
        let (given, least) =
            (self.given.as_str(), if self.last_word.is_empty() { REPEATED } else { self.last_word.len() });
        let longest = given.len().saturating_sub(1024);
        (longest..given.len())
            .filter(move |at| {
                let rest = given.len() - at;
                given.is_char_boundary(*at) && (rest == least || rest >= least.max(REPEATED))
            })
            .map(move |at| &given[at..])
    }
}

/// Whether `c` is of a script that has no blanks between its words: Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0FFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{2E80}'..='\u{A4CF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(given: &str, pieces: &[&str]) -> Result<String> {
        let mut seam = Seam::new(given);
        let mut text = given.to_owned();
        for piece in pieces {
            text += &seam.join(piece)?;
        }
        text += &seam.end()?;
        Ok(text)
    }

    #[test]
    fn what_is_repeated_is_said_once() {
        let whole = "The quick brown fox jumps over the lazy dog.";
        for given in
            ["The quick brown fox", "The quick bro", "The quick ", "The", "The quick brown fox jumps over the lazy "]
        {
            let rest_of_word = &whole[given.rfind(' ').map_or(0, |at| at + 1)..];
            for again in [whole, rest_of_word, &whole[given.trim_end().len()..]] {
                let letters: Vec<_> = again.split_inclusive(' ').collect();
                if again == &whole[given.trim_end().len()..] && given == "The quick bro" {
                    continue; // Goes on inside the word, which nobody asked for.
                }
                assert_eq!(joined(given, &letters).unwrap(), whole, "{given:?} + {again:?}");
            }
        }
        assert_eq!(joined("one two three four five", &["three four five six"]).unwrap(), "one two three four five six");
    }

    #[test]
    fn words_do_not_grow_together_and_punctuation_stays_close() {
        assert_eq!(joined("All is", &["well"]).unwrap(), "All is well");
        assert_eq!(joined("All is well", &[", I think"]).unwrap(), "All is well, I think");
        assert_eq!(joined("All is ", &[" well"]).unwrap(), "All is well");
    }

    #[test]
    fn a_script_without_blanks_is_shown_whole_and_joined_without_one() {
        let given = "東京は日本の首都であり、世界でも最大級の都市の一つである。人口は約千四百万人で、";
        let remote = ModelProfile { provider: "openai".into(), ..ModelProfile::local("m", 100) };
        let (asked, _) = go_on(&remote, &ChatRequest::user("東京とは？"), given);
        assert_eq!(asked.messages[1].content, given, "all that was given out");
        assert_eq!(
            joined(given, &["政治と経済の中心", "である。"]).unwrap(),
            format!("{given}政治と経済の中心である。")
        );
        assert_eq!(joined(given, &["約千四百万人で、政治"]).unwrap(), format!("{given}政治"), "what is repeated");
        let (asked, _) = go_on(&remote, &ChatRequest::user("x"), "首都は東京（Tok");
        assert_eq!(asked.messages[1].content, "首都は東京（", "half a word of another script is written again");
        assert_eq!(joined("首都は東京（Tok", &["Tokyo）"]).unwrap(), "首都は東京（Tokyo）");
        assert_eq!(joined("ประเทศ", &["ไทย"]).unwrap(), "ประเทศไทย");
    }

    #[test]
    fn an_address_is_gone_on_with_as_it_stands() {
        let given = "See https://example.com/a/very/long/pa";
        let remote = ModelProfile { provider: "openai".into(), ..ModelProfile::local("m", 100) };
        let (asked, _) = go_on(&remote, &ChatRequest::user("x"), given);
        assert_eq!(asked.messages[1].content, given);
        assert_eq!(joined(given, &["th"]).unwrap(), format!("{given}th"));
    }

    #[test]
    fn an_answer_that_begins_anew_in_other_words_is_not_joined() {
        let given = "The capital of France is Paris, a city on the Seine";
        let error = joined(given, &["The capital of France is Paris, and it is large"]).unwrap_err();
        assert!(error.kind() == ErrorKind::Rejected && !error.is_retryable());
    }

    #[test]
    fn a_local_model_is_given_its_own_words_and_others_are_told() {
        let request = ChatRequest::user("Why?");
        let (asked, mut seam) = go_on(&ModelProfile::local("m", 100), &request, "Because it");
        assert_eq!((asked.messages.len(), asked.messages[1].content.as_str()), (2, "Because it"));
        assert_eq!(seam.join("it").unwrap(), "it", "nothing is a repetition there");
        let remote = ModelProfile { provider: "openai".into(), ..ModelProfile::local("m", 100) };
        let (asked, _) = go_on(&remote, &request, "Because it");
        assert_eq!((asked.messages[1].content.as_str(), asked.messages[2].role), ("Because", Role::User));
        let (asked, _) = go_on(&remote, &request, "Be");
        assert_eq!(asked.messages.len(), 1, "half a word says nothing: the answer begins anew");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(words in prop::collection::vec("[a-c]{1,3}", 2..20), cut in 0usize..40, at in 0usize..40) {
            let whole = words.join(" ");
            let cut = cut.min(whole.len());
            let at = at.min(whole.len());
            let (one, two) = (joined(&whole[..cut], &[&whole]), joined(&whole[..cut], &[&whole[..at], &whole[at..]]));
            prop_assert_eq!(one.unwrap(), whole.clone());
            prop_assert_eq!(two.unwrap(), whole);
        }
    }
}
