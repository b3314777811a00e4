//! Numbers that say what kind of prompt it is, without a model: lengths, quantities, what is asked for.

use std::collections::HashSet;

use super::lexer::{Token, lex, number_word};

/// How many numbers [`prompt_features`] gives.
pub(super) const PROMPT_FEATURES: usize = 36;

/// Characters of a prompt that are read: the kind of a prompt shows early, and a decision must stay fast.
const READ: usize = 4096;

/// What is known of `prompt` from its text alone. Each is about 0 to 2, so that none outweighs the others before they
/// are scaled. Costs microseconds: only the first 4,096 characters are read, and the length of the whole.
pub(super) fn prompt_features(prompt: &str) -> [f32; PROMPT_FEATURES] {
    let read = &prompt[..prompt.char_indices().nth(READ).map_or(prompt.len(), |(end, _)| end)];
    let tokens = lex(read);
    let (mut words, mut letters, mut numbers, mut spoken, mut largest, mut decimals) =
        (0usize, 0, 0usize, 0, 0.0f64, 0);
    let (mut distinct, mut names) = (HashSet::new(), HashSet::new());
    let mut kinds = [0usize; Kind::COUNT];
    for token in &tokens {
        match token {
            Token::Number { value, decimals: places } => {
                numbers += 1;
                largest = largest.max(*value);
                decimals += places;
            }
            Token::Word { text, capital } => {
                words += 1;
                letters += text.len();
                spoken += usize::from(number_word(text).is_some());
                distinct.insert(text.as_str());
                if *capital {
                    names.insert(text.as_str());
                }
                for kind in kinds_of(text) {
                    kinds[*kind as usize] += 1;
                }
            }
            Token::Sign(_) | Token::Break => {}
        }
    }
    let signs =
        |wanted: &str| tokens.iter().filter(|t| matches!(t, Token::Sign(c) if wanted.contains(*c))).count() as f64;
    let sentences = signs(".!?").max(1.0);
    let options = options(read);
    let lengths: Vec<_> = options.iter().map(|option| option.chars().count() as f64).collect();
    let mean = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
    let spread = (lengths.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / lengths.len().max(1) as f64).sqrt();
    let numeric_options = !options.is_empty() && options.iter().all(|o| o.chars().any(|c| c.is_ascii_digit()));
    let any = |kind: Kind| f64::from(u8::from(kinds[kind as usize] > 0));
    let flag = |is: bool| f64::from(u8::from(is));
    let asks_first = tokens.first().is_some_and(|t| matches!(t, Token::Word { text, .. } if is_question_word(text)));
    let features = [
        (prompt.len() as f64).ln_1p(),
        words as f64 / 50.0,
        sentences / 4.0,
        numbers as f64 / 5.0,
        f64::from(spoken as u32) / 3.0,
        largest.ln_1p() / 5.0,
        flag(decimals > 0),
        flag(read.contains('%')) + any(Kind::Percent),
        any(Kind::Fraction),
        any(Kind::Multiple),
        any(Kind::Comparison),
        any(Kind::Remainder),
        any(Kind::Condition),
        any(Kind::Each),
        any(Kind::Total),
        any(Kind::Time),
        flag(read.contains('$')),
        letters as f64 / words.max(1) as f64 - 4.0,
        distinct.len() as f64 / words.max(1) as f64,
        any(Kind::Rate),
        kinds[Kind::Sequence as usize] as f64 / 2.0,
        signs(",") / 4.0,
        names.len() as f64 / 6.0,
        options.len() as f64 / 4.0,
        mean / 30.0,
        spread.ln_1p(),
        any(Kind::Negation),
        flag(read.contains("__")),
        signs("=^√∑∫<>\\").ln_1p(),
        flag(asks_first),
        any(Kind::Task),
        any(Kind::Statement),
        flag(numeric_options),
        flag(read.contains("```") || read.contains("def ") || read.contains("();")),
        (read.lines().count() as f64).ln_1p(),
        signs("?").min(3.0),
    ];
    features.map(|feature| feature as f32)
}

/// What a word hints at.
#[derive(Clone, Copy)]
enum Kind {
    Percent,
    Fraction,
    Multiple,
    Comparison,
    Remainder,
    Condition,
    Each,
    Total,
    Time,
    Rate,
    Sequence,
    Negation,
    Task,
    Statement,
}

impl Kind {
    const COUNT: usize = Self::Statement as usize + 1;
}

fn kinds_of(word: &str) -> &'static [Kind] {
    match word {
        "percent" | "percentage" => &[Kind::Percent],
        "half" | "third" | "quarter" | "fourth" | "fifth" | "halves" | "thirds" | "fifths" => &[Kind::Fraction],
        "times" | "twice" | "double" | "triple" | "thrice" => &[Kind::Multiple],
        "more" | "less" | "fewer" | "older" | "younger" | "taller" | "longer" | "than" => &[Kind::Comparison],
        "left" | "remain" | "remains" | "remaining" | "rest" => &[Kind::Remainder],
        "if" | "suppose" | "assume" | "unless" => &[Kind::Condition],
        "each" | "per" | "every" => &[Kind::Each],
        "total" | "altogether" | "combined" | "sum" => &[Kind::Total],
        "hour" | "hours" | "minute" | "minutes" | "second" | "seconds" | "day" | "days" | "week" | "weeks"
        | "month" | "months" | "year" | "years" => &[Kind::Time],
        "average" | "ratio" | "probability" | "speed" | "rate" | "profit" | "interest" | "discount" | "original" => {
            &[Kind::Rate]
        }
        "then" | "after" | "before" | "next" | "also" | "later" => &[Kind::Sequence],
        "not" | "except" | "never" | "no" | "none" => &[Kind::Negation],
        "find" | "calculate" | "compute" | "solve" | "prove" | "write" | "explain" | "determine" => &[Kind::Task],
        "statement" | "statements" | "true" | "false" | "following" => &[Kind::Statement],
        _ => &[],
    }
}

fn is_question_word(word: &str) -> bool {
    matches!(word, "which" | "what" | "who" | "how" | "when" | "where" | "why")
}

/// The texts of the lines that begin like `A.`, `B)` or `(C)`.
fn options(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches('(');
            let mut chars = line.chars();
            let letter = chars.next().is_some_and(|c| c.is_ascii_uppercase() && c <= 'J');
            (letter && chars.next().is_some_and(|c| ".):".contains(c))).then(|| chars.as_str().trim())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_prompt_asks_shows_in_its_features() {
        let sum =
            prompt_features("Ann has 3 apples and buys twice as many each day. How many are left after 2.5 days?");
        let choice = prompt_features("Which is NOT a planet?\nA. Mars\nB. Pluto\nC. Venus\nD. Earth\nAnswer:");
        assert_eq!((sum[3], choice[3]), (0.4, 0.0), "numbers");
        assert_eq!((sum[6], sum[9], sum[11], sum[13]), (1.0, 1.0, 1.0, 1.0), "decimals, multiples, remainder, each");
        assert_eq!((sum[23], choice[23]), (0.0, 1.0), "options");
        assert_eq!((choice[26], choice[29]), (1.0, 1.0), "negation, question first");
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_features_that_are_numbers(text in ".*") {
            proptest::prop_assert!(prompt_features(&text).iter().all(|feature| feature.is_finite()));
        }
    }
}
