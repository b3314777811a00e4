//! Texts as numbers, words and signs: what the features of a prompt and the checks of an answer read.

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A number; `1,500` is one, the sign before it is not part of it.
    Number { value: f64, decimals: usize },
    /// Letters, in lower case.
    Word { text: String, capital: bool },
    /// Any other sign.
    Sign(char),
    /// The end of a line, or of a calculation that a model set off (`<<2*3=6>>`).
    Break,
}

/// What a word says as a number: `twelve`, `dozen`, `half`, `twice`.
pub(super) fn number_word(word: &str) -> Option<f64> {
    const COUNT: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    if let Some(count) = COUNT.iter().position(|known| *known == word) {
        return Some(count as f64);
    }
    Some(match word {
        "once" => 1.0,
        "twice" | "double" => 2.0,
        "triple" | "thrice" => 3.0,
        "half" => 0.5,
        "third" => 1.0 / 3.0,
        "quarter" => 0.25,
        "dozen" => 12.0,
        "thirty" => 30.0,
        "forty" => 40.0,
        "fifty" => 50.0,
        "sixty" => 60.0,
        "seventy" => 70.0,
        "eighty" => 80.0,
        "ninety" => 90.0,
        "hundred" => 100.0,
        "thousand" => 1000.0,
        "million" => 1e6,
        _ => return None,
    })
}

/// Reads `text`. Spaces and dollar signs go: `$5` is the number 5 (see [`Token::Sign`] for other signs).
pub(super) fn lex(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at) = (Vec::with_capacity(text.len() / 4), 0);
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let digit_follows = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if c.is_ascii_digit() || (c == '.' && digit_follows) {
            let (token, end) = number(bytes, at);
            tokens.push(token);
            at = end;
        } else if c.is_alphabetic() {
            let end = text[at..].find(|c: char| !c.is_alphabetic()).map_or(text.len(), |length| at + length);
            tokens.push(Token::Word { text: text[at..end].to_lowercase(), capital: c.is_uppercase() });
            at = end;
        } else {
            let pair = text[at..].starts_with(">>") || text[at..].starts_with("<<");
            match c {
                '\n' => tokens.push(Token::Break),
                '>' if pair => tokens.push(Token::Break),
                '<' if pair => {}
                '$' => {}
                c if c.is_whitespace() => {}
                c => tokens.push(Token::Sign(c)),
            }
            at += if pair { 2 } else { c.len_utf8() };
        }
    }
    tokens
}

/// Numbers are read up to it.
const LARGEST: f64 = 1e15;

fn number(bytes: &[u8], start: usize) -> (Token, usize) {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let (mut at, mut digits, mut decimals, mut point) = (start, String::new(), 0, false);
    loop {
        match bytes.get(at) {
            Some(b) if b.is_ascii_digit() => {
                digits.push(char::from(*b));
                decimals += usize::from(point);
            }
            // A comma between digits parts thousands only when three of them follow.
            Some(b',') if !point && digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4) => {}
            Some(b'.') if !point && digit(at + 1) => {
                digits.push('.');
                point = true;
            }
            _ => break,
        }
        at += 1;
    }
    // Beyond it no sum is exact, and hundreds of digits would be infinite.
    let value = digits.parse::<f64>().unwrap_or(0.0).min(LARGEST);
    (Token::Number { value, decimals }, at)
}

/// The numbers among `tokens`, in order.
pub(super) fn numbers(tokens: &[Token]) -> Vec<f64> {
    tokens
        .iter()
        .filter_map(|token| if let Token::Number { value, .. } = token { Some(*value) } else { None })
        .collect()
}

/// The numbers that words among `tokens` say, in order.
pub(super) fn numbers_in_words(tokens: &[Token]) -> Vec<f64> {
    words(tokens).filter_map(number_word).collect()
}

/// The words among `tokens`, in order.
pub(super) fn words(tokens: &[Token]) -> impl Iterator<Item = &str> {
    tokens.iter().filter_map(|token| if let Token::Word { text, .. } = token { Some(text.as_str()) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_thousands_and_decimals_and_no_sentence_ends() {
        let read = |text: &str| numbers(&lex(text));
        assert_eq!(read("He paid $80,000 for 2.5 acres in 3.2."), [80_000.0, 2.5, 3.2]);
        assert_eq!(read("1,2,3 and .5 and 7."), [1.0, 2.0, 3.0, 0.5, 7.0]);
        assert_eq!(numbers_in_words(&lex("Twelve eggs, half a Dozen")), [12.0, 0.5, 12.0]);
    }

    #[test]
    fn a_number_of_any_length_is_finite() {
        let long = "9".repeat(700);
        assert_eq!(numbers(&lex(&format!("factor {long} or {long}.{long}"))), [1e15, 1e15]);
    }

    #[test]
    fn a_calculation_that_is_set_off_ends_where_it_is_closed() {
        let value = |value| Token::Number { value, decimals: 0 };
        let expected =
            [value(9.0), Token::Sign('*'), value(2.0), Token::Sign('='), value(18.0), Token::Break, value(18.0)];
        assert_eq!(lex("$<<9*2=18>>18"), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(text in ".*") {
            let _ = lex(&text);
        }
    }
}
