//! A text cut into words, numbers and marks, once, with what their letters tell.

/// What a token looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No capital letter.
    Lower,
    /// Begins with a capital, or has one within (`iPhone`).
    Capital,
    /// Two letters or more, all capitals.
    Upper,
    /// Begins with a digit.
    Number,
    /// A mark, or one of the pairs that stand for a quote.
    Mark,
    /// An e-mail address, a URL, a hashtag or a handle.
    Special(Special),
}

/// What is recognised before words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Email,
    Url,
    Hashtag,
    Handle,
}

/// A word, a number or a mark.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) shape: Shape,
    /// Whether there is white space before.
    pub(super) spaced: bool,
    /// Whether a sentence, a line or a quote begins here.
    pub(super) first: bool,
    /// Whether a line begins here.
    pub(super) line: bool,
    /// Whether the word is followed by `'s`, which is not part of it.
    pub(super) owner: bool,
}

impl Token {
    pub(super) fn is_name(&self) -> bool {
        matches!(self.shape, Shape::Capital | Shape::Upper)
    }

    pub(super) fn is_word(&self) -> bool {
        matches!(self.shape, Shape::Capital | Shape::Upper | Shape::Lower)
    }

    pub(super) fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Words that are followed by a full stop and do not end a sentence.
const SHORTENED: &[&str] = &[
    "Adm", "Ave", "Bros", "Capt", "Cmdr", "Co", "Col", "Corp", "Dr", "Fr", "Ft", "Gen", "Gov", "Inc", "Jr", "Lt",
    "Ltd", "Maj", "Messrs", "Mr", "Mrs", "Ms", "Mt", "No", "Pres", "Prof", "Rep", "Rev", "Sen", "Sgt", "Sr", "St",
    "Vol", "ca", "cf", "e.g", "i.e", "pp", "vs",
];

/// Tokens of a text at most; what comes after is not looked at.
const MAX_TOKENS: usize = 1 << 20;

/// Cuts `text`.
pub(super) fn cut(text: &str) -> Vec<Token> {
    let mut cutter = Cutter { text, tokens: Vec::with_capacity(text.len() / 5 + 4), first: true, line: true };
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() && cutter.tokens.len() < MAX_TOKENS {
        let (space, width) = space_at(text, at);
        if space {
            if bytes[at] == b'\n' {
                (cutter.first, cutter.line) = (true, true);
            }
            at += width;
            continue;
        }
        let mut end = at;
        let (mut plain, mut marked) = (true, false);
        while end < bytes.len() {
            let (space, width) = space_at(text, end);
            if space {
                break;
            }
            marked |= matches!(bytes[end], b'@' | b'#' | b':' | b'/');
            plain &= bytes[end].is_ascii_lowercase();
            end += width;
        }
        if plain {
            cutter.push(at, end, Shape::Lower, true);
        } else {
            cutter.chunk(at, end, marked);
        }
        at = end;
    }
    cutter.tokens
}

/// Whether there is white space at `at`, and the bytes of the character there.
fn space_at(text: &str, at: usize) -> (bool, usize) {
    let byte = text.as_bytes()[at];
    if byte < 0x80 {
        return (byte.is_ascii_whitespace() || byte == 0, 1);
    }
    match char_at(text, at) {
        Some(c) => (c.is_whitespace(), c.len_utf8()),
        None => (false, 1),
    }
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..).and_then(|rest| rest.chars().next())
}

struct Cutter<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    /// The next word begins a sentence.
    first: bool,
    line: bool,
}

impl Cutter<'_> {
    fn push(&mut self, start: usize, end: usize, shape: Shape, spaced: bool) {
        let (first, line) = (self.first, self.line);
        self.tokens.push(Token { start, end, shape, spaced, first, line, owner: false });
        if shape != Shape::Mark {
            self.first = false;
        }
        self.line = false;
    }

    /// What stands between two white spaces.
    fn chunk(&mut self, start: usize, end: usize, marked: bool) {
        let chunk = &self.text[start..end];
        if marked && let Some((special, from, to)) = special(chunk) {
            self.marks(start, start + from, true);
            self.push(start + from, start + to, Shape::Special(special), from == 0);
            self.marks(start + to, end, false);
            return;
        }
        let (mut at, mut spaced) = (start, true);
        while at < end {
            let Some(c) = char_at(self.text, at) else { return };
            if c.is_alphanumeric() {
                at = self.word(at, end, spaced);
            } else {
                at = self.mark(at, end, c, spaced);
            }
            spaced = false;
        }
    }

    fn marks(&mut self, mut at: usize, end: usize, mut spaced: bool) {
        while at < end {
            let Some(c) = char_at(self.text, at) else { return };
            at = self.mark(at, end, c, spaced);
            spaced = false;
        }
    }

    /// A mark, two for a quote and for a dash; gives where the next token begins.
    fn mark(&mut self, at: usize, end: usize, c: char, spaced: bool) -> usize {
        let mut next = at + c.len_utf8();
        if matches!(c, '`' | '\'' | '-') && next < end && char_at(self.text, next) == Some(c) {
            next += 1;
        }
        self.push(at, next, Shape::Mark, spaced);
        if matches!(c, '.' | '!' | '?' | '…' | '。' | '•' | '*') {
            self.first = true;
        }
        next
    }

    /// A word or a number; gives where the next token begins.
    fn word(&mut self, start: usize, limit: usize, spaced: bool) -> usize {
        let rest = &self.text[start..limit];
        let (mut end, mut capitals, mut letters) = (0, 0_usize, 0_usize);
        let mut characters = rest.char_indices().peekable();
        let initial = rest.chars().next().unwrap_or_default();
        let number = initial.is_numeric();
        let mut dotted = false;
        while let Some((at, c)) = characters.next() {
            if c.is_alphanumeric() || is_accent(c) {
                letters += usize::from(c.is_alphabetic());
                capitals += usize::from(c.is_uppercase());
            } else {
                let Some((_, next)) = characters.peek() else { break };
                let inside = match c {
                    '\'' | '’' => !number && next.is_alphabetic(),
                    '-' | '‐' | '‑' | '/' | '&' => {
                        next.is_alphanumeric() && !(number && c == '/' && !next.is_numeric())
                    }
                    '.' | ',' | ':' if number => next.is_numeric(),
                    '.' => next.is_alphabetic() && (at - end_of_dot(rest, at) <= 4),
                    '_' => true,
                    _ => false,
                };
                if !inside {
                    break;
                }
                dotted |= c == '.' && !number;
            }
            end = at + c.len_utf8();
        }
        let mut owner = 0;
        let word = &rest[..end];
        for tail in ["'s", "’s", "'S", "’S"] {
            if word.len() > tail.len() && word.ends_with(tail) {
                owner = tail.len();
            }
        }
        let word = &word[..end - owner];
        let shape = if number {
            Shape::Number
        } else if capitals == 0 {
            Shape::Lower
        } else if letters >= 2 && capitals == letters {
            Shape::Upper
        } else {
            Shape::Capital
        };
        // The full stop of `U.S.`, `J.` and `Mr.` is part of the word.
        let stop = rest[end..].starts_with('.') && owner == 0;
        let one = letters == 1 && capitals == 1 && word.len() == initial.len_utf8();
        // `Sen.` is a title before a name, and a name after one.
        let after_name = self.tokens.last().is_some_and(|last| last.is_name() && !last.text(self.text).ends_with('.'));
        let is_name = after_name && spaced && matches!(word, "Col" | "Fr" | "Gen" | "Rep" | "Sen");
        let shortened =
            stop && !number && (dotted && word.len() <= 8 || one || SHORTENED.binary_search(&word).is_ok() && !is_name);
        let taken = end - owner + usize::from(shortened);
        self.push(start, start + taken, shape, spaced);
        if let Some(token) = self.tokens.last_mut() {
            token.owner = owner > 0;
        }
        start + if shortened { end + 1 } else { end }
    }
}

/// The byte after the last full stop before `at`, or 0.
fn end_of_dot(text: &str, at: usize) -> usize {
    text[..at].rfind('.').map_or(0, |dot| dot + 1)
}

fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// An e-mail address, a URL, a hashtag or a handle in `chunk`, and where it is.
fn special(chunk: &str) -> Option<(Special, usize, usize)> {
    let from = chunk.find(|c: char| c.is_alphanumeric() || matches!(c, '#' | '@'))?;
    let end = chunk.trim_end_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '_' | '#')).len();
    let inner = chunk.get(from..end)?;
    let found = if let Some(tag) = inner.strip_prefix('#') {
        (is_tag(tag) && tag.chars().any(char::is_alphabetic)).then_some(Special::Hashtag)
    } else if let Some(name) = inner.strip_prefix('@') {
        is_tag(name).then_some(Special::Handle)
    } else if let Some((scheme, rest)) = inner.split_once("://") {
        (rest.len() > 1 && scheme.len() <= 8 && scheme.bytes().all(|b| b.is_ascii_alphabetic())).then_some(Special::Url)
    } else if let Some((name, host)) = inner.split_once('@') {
        let sound =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._%+-".contains(&b));
        let domain = host.rsplit_once('.').is_some_and(|(_, top)| top.len() >= 2);
        (sound(name) && sound(host) && domain).then_some(Special::Email)
    } else {
        None
    }?;
    Some((found, from, end))
}

fn is_tag(tag: &str) -> bool {
    tag.chars().count() >= 2 && tag.chars().all(|c| c.is_alphanumeric() || c == '_')
}
