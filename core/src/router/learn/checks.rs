//! What can be seen wrong in an answer without asking a model: cut off, sums that do not come out, numbers of the
//! question that were not used, results that lead nowhere.

use std::collections::HashSet;

use super::{
    equations::{Equation, equations, near},
    lexer::{Token, lex, numbers, numbers_in_words, words},
};
use crate::model::{FinishReason, TokenLogprob};

/// An answer to be checked, with what its model said of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The text.
    pub text: &'a str,
    /// Why it ended, where known.
    pub finish_reason: Option<FinishReason>,
    /// The log-probabilities of its tokens, where known.
    pub logprobs: &'a [TokenLogprob],
    /// Whether it has the form that was asked for (a schema, a grammar, a gate), where one was.
    pub fits_form: Option<bool>,
    /// The part of its model's other answers that came to the same, 0 to 1, where there are some.
    pub agreement: Option<f64>,
}

/// What was found. The fields that are counts or shares are about 0 to 3, so that logarithms need no more.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    /// Inputs of the regression, in a fixed order.
    pub inputs: Vec<f64>,
    /// What a person would be told.
    pub remarks: Vec<&'static str>,
    /// An answer that no label is needed to refuse.
    pub broken: bool,
}

/// The remark on an answer whose model says something else when it is asked again.
pub(super) const DISAGREES: &str = "its model says something else when it is asked again";

/// Numbers that need no source: small ones, units of time, percent.
const PLAIN: [f64; 16] = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 7.0, 10.0, 12.0, 24.0, 30.0, 52.0, 60.0, 100.0, 365.0, 1000.0];

/// Checks `answer` to `prompt`.
pub(super) fn check(prompt: &str, answer: &Answer<'_>) -> Findings {
    let (asked, said) = (lex(prompt), lex(answer.text));
    let given = numbers(&asked);
    let in_words = numbers_in_words(&asked);
    let sums = equations(&said);
    let last = Last::of(answer.text, &said);
    let form = form(answer, &last);
    let sources = sources(&given, &in_words, &said, &sums);
    let results = results(&given, prompt, &sums, &last);
    let wording = wording(&asked, &said, answer.text);
    let mut findings = Findings { inputs: Vec::with_capacity(64), remarks: Vec::new(), broken: false };
    for part in [form, sources, results, wording, certainty(answer)] {
        findings.inputs.extend(part.inputs);
        findings.remarks.extend(part.remarks);
        findings.broken |= part.broken;
    }
    if answer.agreement.is_some_and(|part| part < 0.5) {
        findings.remarks.push(DISAGREES);
    }
    findings
}

/// A group of checks.
#[derive(Default)]
struct Part {
    inputs: Vec<f64>,
    remarks: Vec<&'static str>,
    broken: bool,
}

impl Part {
    fn number(&mut self, value: f64) {
        self.inputs.push(if value.is_finite() { value } else { 0.0 });
    }

    fn flag(&mut self, is: bool) {
        self.inputs.push(f64::from(u8::from(is)));
    }

    fn fault(&mut self, is: bool, remark: &'static str) {
        self.flag(is);
        if is {
            self.remarks.push(remark);
        }
    }

    /// A fault that needs no label.
    fn breaks(&mut self, is: bool, remark: &'static str) {
        self.fault(is, remark);
        self.broken |= is;
    }
}

/// What stands before the last word of an answer.
const MARKS: [&str; 5] = ["####", "\\boxed", "answer is", "Answer:", "answer:"];

/// The value that an answer comes to.
struct Last {
    value: Option<f64>,
    /// Whether the answer says that it is its last word.
    marked: bool,
    /// Numbers that stand there.
    count: usize,
}

impl Last {
    fn of(text: &str, said: &[Token]) -> Self {
        let marked = MARKS.iter().filter_map(|mark| text.rfind(mark).map(|at| at + mark.len())).max();
        let tail = marked.map(|at| lex(&text[at..])).filter(|tail| !numbers(tail).is_empty());
        let found = numbers(tail.as_deref().unwrap_or(said));
        let negative = tail.as_ref().is_some_and(|tail| tail.first() == Some(&Token::Sign('-')));
        let value = if tail.is_some() { found.first() } else { found.last() };
        let value = value.map(|value| if negative { -value } else { *value });
        Self { value, marked: tail.is_some(), count: found.len() }
    }
}

/// Words of a text that is short enough to be compared as it is.
const FEW: usize = 8;

/// What an answer comes to, as far as two can be compared.
#[derive(Debug, PartialEq)]
enum Essence {
    Value(f64),
    Json(serde_json::Value),
    Words(Vec<String>),
}

impl Essence {
    fn of(text: &str) -> Option<Self> {
        let parsed = serde_json::from_str(text).ok();
        if let Some(json) = parsed.filter(|json: &serde_json::Value| json.is_object() || json.is_array()) {
            return Some(Self::Json(json));
        }
        let said = lex(text);
        let last = Last::of(text, &said);
        if let Some(value) = last.value.filter(|_| last.marked || !equations(&said).is_empty()) {
            return Some(Self::Value(value));
        }
        let marked = MARKS.iter().filter_map(|mark| text.rfind(mark).map(|at| at + mark.len())).max();
        let said = &text[marked.unwrap_or(0)..];
        let words = said.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<_> = words.take(FEW + 1).map(str::to_lowercase).collect();
        (1..=FEW).contains(&words.len()).then_some(Self::Words(words))
    }
}

/// Whether two answers come to the same: the same final value, JSON or few words. Nothing when `one` has nothing to compare,
/// as free text has not.
pub(in crate::router) fn same_result(one: &str, other: &str) -> Option<bool> {
    Some(match (Essence::of(one)?, Essence::of(other)) {
        (Essence::Value(a), Some(Essence::Value(b))) => near(a, b),
        (one, other) => other.is_some_and(|other| one == other),
    })
}

/// Whether it is whole.
fn form(answer: &Answer<'_>, last: &Last) -> Part {
    let mut part = Part::default();
    let text = answer.text.trim_end();
    let sentence = text.ends_with(['.', '!', '?', '`', '}', ']']);
    part.breaks(text.is_empty(), "it is empty");
    part.breaks(answer.finish_reason == Some(FinishReason::Length), "it was cut off at its longest length");
    part.breaks(answer.finish_reason == Some(FinishReason::ContentFilter), "its provider withheld it");
    part.breaks(answer.fits_form == Some(false), "it does not have the form that was asked for");
    part.fault(!last.marked && !sentence, "it ends within a sentence");
    part.flag(last.marked);
    part.flag(last.value.is_none());
    part.flag(sentence || text.ends_with(|c: char| c.is_ascii_digit() || ")\"%".contains(c)));
    part.flag(answer.text.ends_with("\n\n"));
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let distinct: HashSet<_> = lines.iter().collect();
    let repeated = 1.0 - distinct.len() as f64 / lines.len().max(1) as f64;
    part.fault(lines.len() > 3 && repeated > 0.4, "it repeats itself");
    part.number(repeated);
    part.number(lines.len() as f64 / 5.0);
    part.number((answer.text.len() as f64).ln_1p());
    part
}

/// Whether its numbers come from somewhere, and whether all that was given is used.
fn sources(given: &[f64], in_words: &[f64], said: &[Token], sums: &[Equation]) -> Part {
    let mut part = Part::default();
    let there = numbers(said);
    let missing = |of: &[f64]| of.iter().filter(|x| !there.iter().any(|y| near(**x, *y))).count();
    let unused = missing(given);
    part.fault(unused > 0, "it leaves a number of the question out");
    part.number(unused as f64 / given.len().max(1) as f64);
    part.number(unused.min(4) as f64);
    part.number(missing(in_words) as f64 / 2.0);

    let mut known: Vec<f64> = given.iter().chain(in_words).copied().collect();
    let (mut strange, mut operands) = (0usize, 0usize);
    for sum in sums {
        for operand in &sum.operands {
            operands += 1;
            let variants = |y: &f64| [*y, y / 100.0, 1.0 - y / 100.0, 1.0 + y / 100.0, y * 100.0];
            let from_known = known.iter().flat_map(variants).any(|y| near(*operand, y));
            strange += usize::from(!from_known && !PLAIN.iter().any(|plain| near(*operand, *plain)));
        }
        known.push(sum.stated);
    }
    part.fault(strange > 0, "it calculates with a number from nowhere");
    part.number(strange.min(4) as f64 / 2.0);
    part.number(strange as f64 / operands.max(1) as f64);
    part
}

/// Whether its sums come out, and lead to what it says in the end.
fn results(given: &[f64], prompt: &str, sums: &[Equation], last: &Last) -> Part {
    let mut part = Part::default();
    let wrong = sums.iter().filter(|sum| !sum.holds).count();
    part.fault(wrong > 0, "a calculation in it is wrong");
    part.number(wrong.min(3) as f64);
    part.number(wrong as f64 / sums.len().max(1) as f64);
    part.number((sums.len() as f64).ln_1p());
    part.flag(sums.is_empty());
    part.number(sums.len() as f64 / given.len().max(1) as f64);
    part.flag(sums.len() + 1 < given.len());

    let ends_at = |value: f64| last.value.is_some_and(|last| near(value, last));
    let dangling = sums.iter().enumerate().filter(|(at, sum)| {
        let used = sums[at + 1..].iter().flat_map(|later| &later.operands).any(|x| near(*x, sum.stated));
        at + 1 < sums.len() && !used && !ends_at(sum.stated)
    });
    let dangling = dangling.count();
    part.fault(dangling > 0, "a result in it is never used");
    part.number(dangling.min(3) as f64);
    let ends_elsewhere = sums.last().is_some_and(|sum| !ends_at(sum.stated)) && last.value.is_some();
    part.fault(ends_elsewhere, "what it says in the end is not what it calculated last");
    part.flag(sums.iter().any(|sum| ends_at(sum.stated)));
    part.flag(given.iter().any(|x| ends_at(*x)));

    let whole = |x: f64| (x - x.round()).abs() < 1e-9;
    let whole_question = given.iter().all(|x| whole(*x)) && !prompt.contains(['$', '%']);
    let fraction_at_the_end = last.value.is_some_and(|value| !whole(value));
    part.flag(last.value.is_some_and(whole));
    part.flag(sums.iter().any(|sum| !whole(sum.stated)));
    part.flag(whole_question && sums.iter().any(|sum| !whole(sum.stated)));
    part.fault(whole_question && fraction_at_the_end, "it comes to a fraction, and all that was given is whole");
    let negative = sums.iter().any(|sum| sum.stated < 0.0) || last.value.is_some_and(|value| value < 0.0);
    part.fault(negative, "a quantity in it is negative");
    let largest = given.iter().copied().fold(1.0, f64::max);
    let magnitude = last.value.map_or(0.0, |value| ((value.abs() + 1.0) / (largest + 1.0)).ln().clamp(-6.0, 6.0));
    part.number(magnitude);
    part.number(magnitude.abs());
    part.number(last.value.map_or(0.0, |value| value.abs().ln_1p() / 5.0));
    part.flag(last.marked && last.count > 1);
    part
}

/// How it speaks, and whether it does what the question seems to call for.
fn wording(asked: &[Token], said: &[Token], text: &str) -> Part {
    let mut part = Part::default();
    let asks = |wanted: &[&str]| words(asked).any(|word| wanted.contains(&word));
    let hedges =
        ["however", "assuming", "assume", "unclear", "cannot", "approximately", "about", "impossible", "since"];
    part.flag(words(said).any(|word| hedges.contains(&word)));
    part.flag(words(said).any(|word| ["let", "variable", "equation", "denote"].contains(&word)));
    let count = words(said).count().max(1) as f64;
    part.number(words(said).collect::<HashSet<_>>().len() as f64 / count);
    part.number((text.len() as f64 + 1.0).ln() - (words(asked).map(str::len).sum::<usize>() as f64 + 1.0).ln());
    part.flag(said.iter().any(|token| matches!(token, Token::Number { decimals, .. } if *decimals > 2)));
    part.number(said.iter().filter(|token| **token == Token::Sign('=')).count() as f64 / 6.0);
    part.number(text.matches("<<").count().min(4) as f64 / 4.0);

    let calculates = |signs: &[char]| {
        let pairs = said.windows(2).filter(|pair| {
            let operator = match &pair[1] {
                Token::Sign(sign) => signs.contains(sign),
                Token::Word { text, .. } => text == "x" && signs.contains(&'*'),
                _ => false,
            };
            operator && matches!(pair[0], Token::Number { .. } | Token::Sign('%' | ')'))
        });
        pairs.count() as f64 / 3.0
    };
    let [plus, minus, times, by] = [&['+'][..], &['-', '−'], &['*', '×'], &['/', '÷']].map(calculates);
    for count in [plus, minus, times, by] {
        part.number(count);
    }
    part.number([plus, minus, times, by].iter().filter(|count| **count > 0.0).count() as f64);
    part.flag(asks(&["left", "remain", "remaining", "fewer", "less", "difference", "more"]) && minus == 0.0);
    part.flag(asks(&["each", "per", "every"]) && times + by == 0.0);
    part.flag(asks(&["total", "altogether", "combined"]) && plus == 0.0);
    part.flag(asks(&["average"]) && by == 0.0);
    part.flag(asked.contains(&Token::Sign('%')) != said.contains(&Token::Sign('%')));
    let unit = unit(asked);
    let named = unit.is_none_or(|unit| words(said).any(|word| word.starts_with(unit.trim_end_matches('s'))));
    part.fault(!named, "it does not name what was asked for");
    part
}

/// The noun after `how many` or `how much`.
fn unit(asked: &[Token]) -> Option<&str> {
    let words: Vec<_> = words(asked).collect();
    let at = words.windows(2).position(|pair| pair[0] == "how" && (pair[1] == "many" || pair[1] == "much"))?;
    words.get(at + 2).copied()
}

/// How sure its model was, by quantiles of the log-probabilities of its tokens: their sum would favour short answers.
fn certainty(answer: &Answer<'_>) -> Part {
    let mut part = Part::default();
    let mut sorted: Vec<_> = answer.logprobs.iter().map(|token| f64::from(token.logprob)).collect();
    sorted.sort_by(f64::total_cmp);
    let quantile = |q: f64| sorted.get((q * sorted.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0.0);
    part.flag(!sorted.is_empty());
    for q in [0.0, 0.05, 0.1, 0.25, 0.5] {
        part.number(quantile(q).max(-20.0));
    }
    part.number(sorted.iter().sum::<f64>() / sorted.len().max(1) as f64);
    let margins =
        answer.logprobs.iter().filter_map(|token| Some(f64::from(token.top.first()?.1 - token.top.get(1)?.1)));
    let smallest = margins.fold(f64::INFINITY, f64::min);
    part.number(if smallest.is_finite() { smallest } else { 0.0 });
    part.fault(!sorted.is_empty() && quantile(0.1) < -2.5, "its model was unsure of its words");
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remarks(prompt: &str, text: &str) -> Vec<&'static str> {
        check(prompt, &Answer { text, ..Answer::default() }).remarks
    }

    #[test]
    fn faults_are_named() {
        let question = "Ann has 16 eggs. She eats 3 and bakes with 4. How many eggs are left?";
        assert!(remarks(question, "She uses 3 + 4 = 7 eggs. So 16 - 7 = 9 eggs are left.\n#### 9").is_empty());
        let cases = [
            ("3 + 4 = 8 eggs, 16 - 8 = 8 eggs left. #### 8", "a calculation in it is wrong"),
            ("16 - 3 = 13 eggs are left. #### 13", "it leaves a number of the question out"),
            ("16 - 3 - 4 = 9. 9 * 55 = 495 eggs. #### 495", "it calculates with a number from nowhere"),
            ("3 + 4 = 7. 16 - 3 = 13 eggs. #### 13", "a result in it is never used"),
            ("16 - 3 - 4 = 9 eggs. #### 12", "what it says in the end is not what it calculated last"),
            ("3 - 16 - 4 = -17 eggs. #### -17", "a quantity in it is negative"),
            ("16 / 3 - 4 = 1.33 eggs. #### 1.33", "it comes to a fraction, and all that was given is whole"),
            ("She uses 3 + 4 eggs and 16 -", "it ends within a sentence"),
            ("eggs 16 3 4\neggs 16 3 4\neggs 16 3 4\neggs 16 3 4.", "it repeats itself"),
        ];
        for (text, expected) in cases {
            assert!(remarks(question, text).contains(&expected), "{text}: {:?}", remarks(question, text));
        }
    }

    #[test]
    fn an_answer_that_no_label_is_needed_to_refuse_is_broken() {
        let answer = Answer { text: "Paris.", ..Answer::default() };
        assert!(!check("Capital of France?", &answer).broken);
        let broken = [
            Answer { text: " ", ..answer },
            Answer { finish_reason: Some(FinishReason::Length), ..answer },
            Answer { finish_reason: Some(FinishReason::ContentFilter), ..answer },
            Answer { fits_form: Some(false), ..answer },
        ];
        assert!(broken.iter().all(|answer| check("Capital of France?", answer).broken));
    }

    #[test]
    fn answers_that_come_to_the_same_are_the_same_in_other_words() {
        let same = [
            ("3 + 4 = 7 eggs.\n#### 7", "She has 7. The answer is 7.0"),
            ("{\"n\": 1, \"m\": 2}", " {\"m\":2,\"n\":1}"),
            ("Paris.", "paris"),
            ("I think so. The answer is (B).", "B"),
        ];
        assert!(same.iter().all(|(one, other)| same_result(one, other) == Some(true)));
        let different =
            [("#### 7", "#### 8"), ("Paris", "Rome"), ("{\"n\": 1}", "{\"n\": 2}"), ("#### 7", "I do not know")];
        assert!(different.iter().all(|(one, other)| same_result(one, other) == Some(false)));
        let free = "The sea is a large body of water, which covers most of the planet and has many fish.";
        assert_eq!(same_result(free, free), None);
    }

    #[test]
    fn an_unsure_model_shows() {
        let token =
            |logprob| TokenLogprob { token: "a".into(), logprob, top: vec![("a".into(), logprob), ("b".into(), -9.0)] };
        let (sure, unsure) = ([token(-0.01), token(-0.1)], [token(-3.0), token(-4.0)]);
        let with = |logprobs| check("q", &Answer { text: "a.", logprobs, ..Answer::default() });
        assert!(with(&sure).remarks.is_empty());
        assert_eq!(with(&unsure).remarks, ["its model was unsure of its words"]);
    }

    proptest::proptest! {
        #[test]
        fn any_answer_has_as_many_inputs_and_all_are_numbers(prompt in ".*", text in ".*") {
            let found = check(&prompt, &Answer { text: &text, ..Answer::default() });
            proptest::prop_assert_eq!(found.inputs.len(), check("", &Answer::default()).inputs.len());
            proptest::prop_assert!(found.inputs.iter().all(|input| input.is_finite()));
        }
    }
}
