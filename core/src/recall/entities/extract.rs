//! Entities of a text, in one pass over its tokens.

use super::{
    Entity, Kind, dates,
    merge::merge,
    normal::{MAX_NAME, normal},
    seen::Seen,
    tokens::{Shape, Special, Token},
    words::{self, COMMON, PEOPLES, UNITS, WITHIN, WORKS, among},
};

/// Words of a name at most.
const MAX_WORDS: usize = 12;
/// Words of a title in quotes at most.
const MAX_QUOTED: usize = 12;
/// Entities of a text at most.
const MAX_ENTITIES: usize = 10_000;

/// What has a name without a capital. Not `pound` and `real`, which are other things as well.
#[rustfmt::skip]
const CURRENCIES: &[&str] = &[
    "baht", "bitcoin", "deutschmark", "dinar", "dirham", "dollar", "drachma", "euro", "franc", "guilder", "krona",
    "krone", "lira", "peseta", "peso", "renminbi", "rouble", "ruble", "rupee", "rupiah", "shekel", "sterling", "yen",
    "yuan", "zloty",
];

/// Words that begin a sentence or a name alike: they are part of a name when another capital follows.
#[rustfmt::skip]
const LEADING: &[&str] = &[
    "best", "big", "black", "blue", "central", "east", "eastern", "first", "general", "golden", "good", "grand",
    "great", "green", "high", "hot", "international", "king", "lake", "little", "long", "lost", "lower", "major",
    "mount", "national", "new", "north", "northern", "old", "queen", "red", "saint", "short", "south", "southern",
    "super", "united", "upper", "west", "western", "white", "will", "young",
];

/// Words after a name that only somebody does.
const PERSONAL: &[&str] = &[
    "acted",
    "argued",
    "asked",
    "attended",
    "believed",
    "born",
    "described",
    "died",
    "directed",
    "graduated",
    "herself",
    "himself",
    "joined",
    "likes",
    "lives",
    "loves",
    "married",
    "met",
    "played",
    "plays",
    "recalled",
    "said",
    "sang",
    "says",
    "served",
    "studied",
    "thinks",
    "told",
    "voiced",
    "wants",
    "who",
    "whose",
    "works",
    "wrote",
];

/// Words that may join two parts of a name when the first is of an office, a journal or the like.
const JOINING: &[&str] = &["and", "at", "for", "on"];

/// The mentions of entities in `text`, which is cut into `tokens`, in their order, 10,000 at most; and the token after its
/// heading, 0 when it has none.
pub(super) fn entities_of(text: &str, tokens: &[Token], speaker: Option<&str>) -> (Vec<Entity>, usize) {
    let found = Vec::with_capacity(tokens.len() / 6 + 1);
    let mut reader = Reader { text, tokens, seen: None, found, lower: String::new() };
    let heading = reader.read();
    let mut found = reader.found;
    merge(text, speaker, &mut found);
    (found, heading)
}

/// An entity and the tokens it takes.
struct Mention {
    kind: Kind,
    first: usize,
    last: usize,
}

struct Reader<'t> {
    text: &'t str,
    tokens: &'t [Token],
    /// Made when it is first asked for.
    seen: Option<Seen>,
    found: Vec<Entity>,
    /// The word that is looked at, in small letters.
    lower: String,
}

impl<'t> Reader<'t> {
    /// Reads everything; gives the token after the heading.
    fn read(&mut self) -> usize {
        let (heading, mut at) = self.heading().unwrap_or_default();
        while at < self.tokens.len() && self.found.len() < MAX_ENTITIES {
            at = self.step(at).max(at + 1);
        }
        heading
    }

    /// Reads what begins at token `at`; gives the token after it.
    fn step(&mut self, at: usize) -> usize {
        let token = self.tokens[at];
        match token.shape {
            Shape::Lower => {
                if among(CURRENCIES, self.word(at)) {
                    self.push(&Mention { kind: Kind::Other, first: at, last: at }, None);
                }
                at + 1
            }
            Shape::Special(special) => {
                self.special(at, special);
                at + 1
            }
            Shape::Mark => self.quoted(at).unwrap_or(at + 1),
            Shape::Number => self.date(at).or_else(|| self.edition(at)).or_else(|| self.amount(at)).unwrap_or(at + 1),
            Shape::Capital | Shape::Upper => self.date(at).unwrap_or_else(|| self.name(at)),
        }
    }

    fn word(&self, at: usize) -> &'t str {
        self.tokens.get(at).map_or("", |token| token.text(self.text))
    }

    fn lower(&mut self, at: usize) -> &str {
        let word = self.word(at);
        self.lower.clear();
        if word.is_ascii() {
            self.lower.push_str(word);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower.extend(word.chars().flat_map(char::to_lowercase));
        }
        &self.lower
    }

    fn is_in(&mut self, list: &[&str], at: usize) -> bool {
        among(list, self.lower(at))
    }

    fn push(&mut self, mention: &Mention, name: Option<String>) {
        let (Some(first), Some(last)) = (self.tokens.get(mention.first), self.tokens.get(mention.last)) else { return };
        let (start, end) = (first.start, last.end);
        let name = name.unwrap_or_else(|| normal(self.text.get(start..end).unwrap_or_default()));
        if !name.is_empty() {
            self.found.push(Entity { kind: mention.kind, name, start, end });
        }
    }

    fn special(&mut self, at: usize, special: Special) {
        let kind = match special {
            Special::Email => Kind::Email,
            Special::Url => Kind::Url,
            Special::Hashtag => Kind::Hashtag,
            Special::Handle => Kind::Handle,
        };
        let word = self.word(at).trim_end_matches('/').to_lowercase();
        let name = word[..word.floor_char_boundary(MAX_NAME)].to_owned();
        self.push(&Mention { kind, first: at, last: at }, Some(name));
    }

    /// The first line when it looks like a heading; gives the token after it, and the one to go on with.
    fn heading(&mut self) -> Option<(usize, usize)> {
        let end = self.tokens.iter().take(2 * MAX_WORDS).skip(1).position(|token| token.line)? + 1;
        let line = &self.tokens[..end];
        let words = line.iter().filter(|token| token.is_word()).count();
        let capitals = line.iter().filter(|token| token.is_name() || token.shape == Shape::Number).count();
        let ends = matches!(self.word(end - 1), "." | "!" | "?" | ":" | ";" | ",");
        let strange = line.iter().any(|token| matches!(token.shape, Shape::Special(_)));
        let begins = line[0].is_name() || line[0].shape == Shape::Number;
        let common = self.is_in(COMMON, 0);
        let short = words <= 5 && !common;
        if ends
            || strange
            || !begins
            || words > MAX_WORDS
            || (capitals * 2 < words && !short)
            || (common && capitals < 2)
        {
            return None;
        }
        let (mut last, mut then) = (end - 1, end);
        let (mut kind, mut inner) = (None, None);
        // What is in parentheses says which of several things of that name is meant.
        if self.word(last) == ")"
            && let Some(open) = (1..last).rev().find(|at| self.word(*at) == "(")
        {
            if (open + 1..last).any(|at| self.is_in(WORKS, at)) {
                kind = Some(Kind::Title);
                then = open + 1;
            } else if self.tokens[open + 1].is_name() {
                inner = Some(Mention { kind: Kind::Other, first: open + 1, last: last - 1 });
            }
            last = open - 1;
        }
        if let Some(comma) = (1..last).rev().find(|at| self.word(*at) == ",") {
            let place = Mention { kind: Kind::Place, first: comma + 1, last };
            if self.kind(&place) == Some(Kind::Place) {
                self.push(&Mention { kind: Kind::Place, first: 0, last: comma - 1 }, None);
                self.push(&place, None);
                return Some((end, then));
            }
        }
        for mention in [Some(Mention { kind: Kind::Other, first: 0, last }), inner].into_iter().flatten() {
            let kind = kind.or_else(|| self.kind(&mention)).unwrap_or(Kind::Other);
            self.push(&Mention { kind, ..mention }, None);
        }
        Some((end, then))
    }

    /// A title in quotes that open at `at`; gives the token after it.
    fn quoted(&mut self, at: usize) -> Option<usize> {
        let close: &[&str] = match self.word(at) {
            "\"" if self.tokens.get(at + 1).is_some_and(|next| !next.spaced) => &["\""],
            "“" | "„" => &["”", "“"],
            "«" => &["»"],
            "``" => &["''", "\"", "”"],
            _ => return None,
        };
        let first = at + 1;
        let (mut capitals, mut words, mut end) = (0, 0, None);
        for inner in first..(first + 2 * MAX_QUOTED).min(self.tokens.len()) {
            let token = self.tokens[inner];
            let word = token.text(self.text);
            if close.contains(&word) {
                end = Some(inner);
                break;
            }
            if token.line {
                return None;
            }
            if token.is_name() || token.shape == Shape::Number {
                (capitals, words) = (capitals + 1, words + 1);
            } else if token.is_word() && word.len() > 3 {
                words += 1;
            }
        }
        let end = end?;
        let mut last = end.checked_sub(1)?;
        let opened = self.tokens.get(first)?;
        if last < first
            || words > MAX_QUOTED
            || capitals * 5 < words * 3
            || !(opened.is_name() || opened.shape == Shape::Number)
        {
            return None;
        }
        while last > first && matches!(self.word(last), "," | "." | ";" | ":") {
            last -= 1;
        }
        if first == last && self.is_in(COMMON, first) {
            return None;
        }
        self.push(&Mention { kind: Kind::Title, first, last }, None);
        Some(end + 1)
    }

    fn date(&mut self, at: usize) -> Option<usize> {
        let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
        let date = dates::date(self.text, &self.tokens[at..], before)?;
        self.push(&Mention { kind: Kind::Date, first: at, last: at + date.tokens - 1 }, Some(date.iso));
        Some(at + date.tokens)
    }

    /// `2010 FIFA World Cup`: a year and the name of what takes place in it.
    fn edition(&mut self, at: usize) -> Option<usize> {
        let ordinal = self.word(at).ends_with("th");
        if !ordinal {
            dates::year(self.text, &self.tokens[at])?;
        }
        let next = self.tokens.get(at + 1).filter(|next| next.spaced && next.is_name())?;
        if next.first || dates::date(self.text, &self.tokens[at + 1..], None).is_some() {
            return None;
        }
        let last = self.extend(at + 1);
        self.push(&Mention { kind: Kind::Other, first: at, last }, None);
        Some(last + 1)
    }

    /// An amount of money, a distance, an area, a weight: a number with what makes it one.
    fn amount(&mut self, at: usize) -> Option<usize> {
        let money = at.checked_sub(1).filter(|before| matches!(self.word(*before), "$" | "€" | "£" | "¥"));
        let mut last = at;
        if matches!(self.word(at + 1), "million" | "billion" | "trillion" | "thousand") {
            last += 1;
        }
        let mut unit =
            usize::from(matches!(self.word(last + 1), "square" | "cubic" | "sq" | "imperial" | "nautical" | "metric"));
        unit = if self.is_in(UNITS, last + 1 + unit) { unit + 1 } else { 0 };
        if unit == 0
            && last > at
            && self.tokens.get(last + 1).is_some_and(|next| next.shape == Shape::Lower && next.end - next.start > 3)
        {
            unit = 1;
        }
        if money.is_none() && unit == 0 && last == at {
            return None;
        }
        let first = money.unwrap_or(at);
        last += unit;
        let words: Vec<_> = (first..=last).map(|at| self.word(at)).collect();
        let name = words.join(" ").to_lowercase();
        let name = name[..name.floor_char_boundary(MAX_NAME)].to_owned();
        self.push(&Mention { kind: Kind::Number, first, last }, Some(name));
        Some(last + 1)
    }

    /// The last token of the name that begins at `first`.
    fn extend(&mut self, first: usize) -> usize {
        let mut last = first;
        while last - first < MAX_WORDS {
            let Some(next) = self.tokens.get(last + 1).copied() else { break };
            if next.line {
                break;
            }
            if self.tokens[last].owner {
                let fits = next.spaced && next.is_name() && !next.first && self.owns(last);
                if !fits {
                    break;
                }
                last += 1;
                continue;
            }
            match next.shape {
                Shape::Capital | Shape::Upper if next.spaced && !next.first => {
                    if dates::date(self.text, &self.tokens[last + 1..], None).is_some_and(|date| date.tokens > 1) {
                        break;
                    }
                    last += 1;
                }
                Shape::Number if next.spaced && self.numbered(last + 1) => last += 1,
                Shape::Mark => match self.joined_by_mark(last) {
                    Some(joined) => last = joined,
                    None => break,
                },
                Shape::Lower => match self.joined_by_word(first, last) {
                    Some(joined) => last = joined,
                    None => break,
                },
                _ => break,
            }
        }
        last
    }

    /// Whether a name goes on after its possessive: `Men's Studies Press`, `Freedom's Journal`.
    fn owns(&mut self, at: usize) -> bool {
        let plural =
            matches!(self.word(at), "Men" | "Women" | "Children" | "People" | "World" | "King" | "Queen" | "Queens");
        plural || words::is_head(self.lower(at + 1))
    }

    /// Whether the number at `at` is part of the name before it: `Apollo 11`.
    fn numbered(&mut self, at: usize) -> bool {
        let word = self.word(at);
        let short = word.len() <= 3 && word.bytes().all(|b| b.is_ascii_digit());
        short
            && !self.is_in(UNITS, at + 1)
            && !matches!(self.word(at + 1), "%" | "million" | "billion" | "thousand" | "years" | "days" | "people")
            && dates::date(self.text, &self.tokens[at..], None).is_none()
    }

    fn joined_by_mark(&mut self, last: usize) -> Option<usize> {
        let mark = self.tokens[last + 1];
        let next = self.tokens.get(last + 2)?;
        match self.word(last + 1) {
            "&" | "+" if next.is_name() => Some(last + 2),
            "–" | "-" | "/" | "·" if !mark.spaced && !next.spaced && next.is_name() => Some(last + 2),
            "," if matches!(
                self.word(last + 2),
                "Jr." | "Jr" | "Sr." | "Sr" | "Inc." | "Inc" | "Ltd." | "Ltd" | "LLC" | "II" | "III"
            ) =>
            {
                Some(last + 2)
            }
            _ => None,
        }
    }

    fn joined_by_word(&mut self, first: usize, last: usize) -> Option<usize> {
        let mut next = last + 1;
        let word = self.word(next);
        if !among(WITHIN, word) {
            if !JOINING.contains(&word) || !(first..=last).any(|at| words::is_head(self.lower(at))) {
                return None;
            }
            let of = (first..=last).any(|at| matches!(self.word(at), "of" | "for" | "on"));
            if word == "and" && !of {
                return None;
            }
        }
        while next < last + 4 && (among(WITHIN, self.word(next)) || next == last + 1 || self.word(next) == "the") {
            next += 1;
        }
        let token = self.tokens.get(next)?;
        (token.spaced && token.is_name() && !token.first && !token.line).then_some(next)
    }

    /// Reads a name that may begin at `at`; gives the token to go on with.
    fn name(&mut self, at: usize) -> usize {
        let token = self.tokens[at];
        let lower = self.lower(at);
        if matches!(lower, "i" | "i'm" | "i've" | "i'd" | "i'll" | "i’m" | "i’ve" | "i’d" | "i’ll" | "ok") {
            return at + 1;
        }
        let common = among(COMMON, lower);
        let leading = among(LEADING, lower);
        let article = matches!(lower, "the" | "a" | "an");
        let follows = self.tokens.get(at + 1).is_some_and(|next| next.spaced && next.is_name() && !next.first);
        if common && (token.first || article) && !(leading && follows) {
            // `Young wrote it`, after `Neil Young`.
            let known =
                !article && !follows && self.word(at).len() > 3 && self.is_seen_capital(at) && !self.is_seen_small(at);
            if known && words::is_verb(self.word(at + 1)) {
                let kind = Kind::Other;
                self.push(&Mention { kind, first: at, last: at }, None);
            }
            return at + 1;
        }
        if common && token.shape == Shape::Capital && !leading && (!follows || is_small(self.lower(at))) {
            return at + 1;
        }
        let last = self.extend(at);
        let mut first = at;
        if token.first && last == at && !self.named(at) {
            return at + 1;
        }
        // `Songwriter John Lennon`: the first word has a capital because it begins the sentence.
        if token.first && last > at && !leading && self.tokens[at + 1].is_name() && self.is_seen_small(at) {
            first += 1;
        }
        if first == last {
            if self.word(first).chars().count() < 2 {
                return last + 1;
            }
            // A day of any week and a month of any year are no dates.
            if dates::recurs(self.lower(first)) {
                return last + 1;
            }
        }
        let mut mention = Mention { kind: Kind::Other, first, last };
        mention.kind = self.kind(&mention).unwrap_or(Kind::Other);
        if mention.kind == Kind::Other {
            mention.kind = self.kind_by_neighbours(&mention);
        }
        self.push(&mention, None);
        last + 1
    }

    /// What the words of a name tell of it.
    fn kind(&mut self, mention: &Mention) -> Option<Kind> {
        let mut lower = String::new();
        for at in mention.first..=mention.last {
            if self.tokens.get(at)?.shape != Shape::Mark {
                lower.push_str(self.lower(at));
                lower.push(' ');
            }
        }
        words::kind_of(&lower)
    }

    fn kind_by_neighbours(&mut self, mention: &Mention) -> Kind {
        let (first, last) = (mention.first, mention.last);
        if self.word(last + 1) == "(" {
            let works = (last + 2..last + 5).take_while(|at| self.word(*at) != ")").collect::<Vec<_>>();
            if works.into_iter().any(|at| self.is_in(WORKS, at)) {
                return Kind::Title;
            }
            if self.word(last + 2) == "born" {
                return Kind::Person;
            }
        }
        let plain = (first..=last).all(|at| self.tokens[at].shape == Shape::Capital) && last - first < 4;
        let comma = usize::from(self.word(last + 1) == ",");
        if plain
            && (self.is_in(PERSONAL, last + 1 + comma) || self.word(last + 1) == "was" && self.word(last + 2) == "born")
        {
            return Kind::Person;
        }
        let initial = (first..last).any(|at| self.word(at).len() == 2 && self.word(at).ends_with('.'));
        if initial && last > first {
            return Kind::Person;
        }
        Kind::Other
    }

    /// Whether a single word that begins a sentence is a name.
    fn named(&mut self, at: usize) -> bool {
        let token = self.tokens[at];
        let lower = self.lower(at);
        if words::is_known(lower) || among(PEOPLES, lower) {
            return true;
        }
        if self.is_seen_small(at) {
            return false;
        }
        if token.shape == Shape::Upper || token.owner || self.is_seen_capital(at) {
            return true;
        }
        let next = self.word(at + 1);
        if next == "," && self.is_place(at + 2) {
            return true;
        }
        if next == "," {
            return matches!(self.word(at + 2), "who" | "which" | "whose" | "where" | "a" | "an" | "the" | "born");
        }
        // `Pterocarya. Pterocarya is a tree.`
        if next == "." && self.word(at + 2) == self.word(at) {
            return true;
        }
        if next == "and" && self.tokens.get(at + 2).is_some_and(|next| next.is_name() && !next.first) {
            return true;
        }
        let lower = self.lower(at);
        let formed = lower.ends_with('s') && !lower.ends_with("ss")
            || ["ing", "ed", "ly", "tion", "ment"].iter().any(|end| lower.ends_with(end));
        !formed && self.tokens.get(at + 1).is_some_and(|token| token.shape == Shape::Lower) && words::is_verb(next)
    }

    /// Whether a place that everybody knows is named at `at`: `Leland, North Carolina`.
    fn is_place(&mut self, at: usize) -> bool {
        let one = self.lower(at).to_owned();
        words::is_known_place(&one) || words::is_known_place(&format!("{one} {}", self.lower(at + 1)))
    }

    fn is_seen_small(&mut self, at: usize) -> bool {
        let word = self.word(at);
        self.seen().small(word)
    }

    fn is_seen_capital(&mut self, at: usize) -> bool {
        let word = self.word(at);
        self.seen().capital(word)
    }

    fn seen(&mut self) -> &Seen {
        self.seen.get_or_insert_with(|| Seen::read(self.text, self.tokens))
    }
}

/// Whether a word with a capital within a sentence, in small letters, is still no beginning of a name.
fn is_small(lower: &str) -> bool {
    matches!(lower, "at" | "by" | "for" | "from" | "in" | "on" | "since" | "until" | "when" | "with")
}
