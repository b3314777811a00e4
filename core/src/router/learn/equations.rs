//! The calculations that a text writes down, worked out again.

use super::lexer::Token;

/// `operands … = stated`, and what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Equation {
    /// The numbers on the left.
    pub operands: Vec<f64>,
    /// What the left side comes to.
    pub value: f64,
    /// What the text says that it comes to.
    pub stated: f64,
    /// Whether the two agree, up to rounding as it is stated.
    pub holds: bool,
}

/// Tokens before `=` that are looked at; longer sums are not written by hand.
const LONGEST: usize = 32;

/// Equal, but for how numbers are written.
pub(super) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 + 1e-3 * a.abs().max(b.abs())
}

/// Every `expression = number` of `tokens`. Words in it are units and are left out.
pub(super) fn equations(tokens: &[Token]) -> Vec<Equation> {
    let mut found = Vec::new();
    for line in tokens.split(|token| matches!(token, Token::Break | Token::Sign('.' | ';'))) {
        let mut begins = 0;
        for (at, _) in line.iter().enumerate().filter(|(_, token)| **token == Token::Sign('=')) {
            let left = expression(&line[begins..at]);
            begins = at + 1;
            let (Some((operands, value)), Some((stated, decimals))) = (left, stated(&line[begins..])) else { continue };
            let rounded = 0.51 * 10f64.powi(-(decimals.min(9) as i32));
            // A whole number is only taken as rounded when the text rounds to it from a fraction.
            let holds = near(value, stated) || (decimals > 0 && (value - stated).abs() <= rounded);
            found.push(Equation { operands, value, stated, holds });
        }
    }
    found
}

/// The number that `tokens` begin with, and its decimals, unless a calculation goes on after it.
fn stated(tokens: &[Token]) -> Option<(f64, usize)> {
    let tokens = if tokens.first() == Some(&Token::Sign('(')) { &tokens[1..] } else { tokens };
    let (negative, rest) = match tokens.split_first() {
        Some((Token::Sign('-' | '−'), rest)) => (true, rest),
        _ => (false, tokens),
    };
    let (Token::Number { value, decimals }, rest) = rest.split_first()? else { return None };
    let goes_on = rest.len() > 1
        && operator(&rest[0]).is_some_and(|sign| sign != '%')
        && matches!(rest[1], Token::Number { .. } | Token::Sign('('));
    (!goes_on).then_some((if negative { -value } else { *value }, *decimals))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Number(f64),
    Sign(char),
}

fn operator(token: &Token) -> Option<char> {
    match token {
        Token::Sign(sign @ ('+' | '-' | '*' | '/' | '%')) => Some(*sign),
        Token::Sign('×' | '·') => Some('*'),
        Token::Sign('÷') => Some('/'),
        Token::Sign('−' | '–') => Some('-'),
        Token::Word { text, .. } if text == "x" => Some('*'),
        _ => None,
    }
}

/// The longest end of `tokens` that is an expression with an operator: its numbers, and what it comes to.
fn expression(tokens: &[Token]) -> Option<(Vec<f64>, f64)> {
    let mut parts = Vec::new();
    let mut at = tokens.len();
    while at > 0 && parts.len() < LONGEST {
        at -= 1;
        match &tokens[at] {
            Token::Number { value, .. } => parts.push(Part::Number(*value)),
            token if operator(token).is_some() => parts.extend(operator(token).map(Part::Sign)),
            Token::Sign(')') if words_in_brackets(&tokens[..at]).is_some() => {
                at = words_in_brackets(&tokens[..at]).unwrap_or(0);
            }
            Token::Sign(bracket @ ('(' | ')')) => parts.push(Part::Sign(*bracket)),
            Token::Word { .. } => {}
            _ => break,
        }
    }
    parts.reverse();
    (0..parts.len()).find_map(|start| {
        let parts = &parts[start..];
        let calculates = parts.iter().any(|part| matches!(part, Part::Sign('+' | '-' | '*' | '/')));
        let value = if calculates { Reader { parts, at: 0 }.whole()? } else { return None };
        let operands = parts.iter().filter_map(|part| if let Part::Number(value) = part { Some(*value) } else { None });
        Some((operands.collect(), value))
    })
}

/// Where the bracket opens that closes after `tokens`, if a word is the first thing in it: a remark, not a factor.
fn words_in_brackets(tokens: &[Token]) -> Option<usize> {
    let open = tokens.iter().rposition(|token| matches!(token, Token::Sign('(' | ')')))?;
    (tokens[open] == Token::Sign('(') && matches!(tokens.get(open + 1), Some(Token::Word { .. }))).then_some(open)
}

/// Sums of products of signed numbers and brackets.
struct Reader<'a> {
    parts: &'a [Part],
    at: usize,
}

impl Reader<'_> {
    fn whole(mut self) -> Option<f64> {
        let value = self.sum()?;
        (self.at == self.parts.len() && value.is_finite()).then_some(value)
    }

    fn take(&mut self, sign: char) -> bool {
        let is = self.parts.get(self.at) == Some(&Part::Sign(sign));
        self.at += usize::from(is);
        is
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value += self.product()?;
            } else if self.take('-') {
                value -= self.product()?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.factor()?;
        loop {
            if self.take('*') {
                value *= self.factor()?;
            } else if self.take('/') {
                let by = self.factor()?;
                value = if by == 0.0 { return None } else { value / by };
            } else {
                return Some(value);
            }
        }
    }

    fn factor(&mut self) -> Option<f64> {
        if self.take('-') {
            return self.factor().map(|value| -value);
        }
        let value = if self.take('(') {
            let value = self.sum()?;
            self.take(')').then_some(value)?
        } else {
            let Some(Part::Number(value)) = self.parts.get(self.at) else { return None };
            self.at += 1;
            *value
        };
        Some(if self.take('%') { value / 100.0 } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::lexer::lex, *};

    #[test]
    fn calculations_are_found_with_their_units_and_worked_out() {
        type Case<'a> = (&'a str, &'a [(f64, f64, bool)]);
        let cases: [Case<'_>; 10] = [
            ("She has 16 - 3 = 13 eggs left.", &[(13.0, 13.0, true)]),
            ("9 * $2 = $<<9*2=18>>18.", &[(18.0, 18.0, true)]),
            ("so 3 + 4 x 2 = 14", &[(11.0, 14.0, false)]),
            ("5 apples * 2 dollars/apple = 10", &[]),
            ("20% * 50 = 10 and (1 + 2) * 3 = 9", &[(10.0, 10.0, true), (9.0, 9.0, true)]),
            ("7 (bought) + 2 (found) = 8", &[(9.0, 8.0, false)]),
            ("10 / 3 = 3.33", &[(10.0 / 3.0, 3.33, true)]),
            ("4 / 0 = 1", &[]),
            ("2 + 2 = 3 + 1 = 4", &[(4.0, 4.0, true)]),
            ("5 - 8 = -3", &[(-3.0, -3.0, true)]),
        ];
        for (text, expected) in cases {
            let found: Vec<_> = equations(&lex(text)).iter().map(|e| (e.value, e.stated, e.holds)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_calculated_rightly_holds(a in 0u32..10_000, b in 1u32..1_000) {
            let text = format!("{a} + {b} = {} and {a} * {b} = {}", a + b, u64::from(a) * u64::from(b) + 1000);
            let found = equations(&lex(&text));
            proptest::prop_assert_eq!(found.len(), 2);
            proptest::prop_assert!(found[0].holds);
            proptest::prop_assert!(!found[1].holds || near(found[1].value, found[1].stated));
        }
    }
}
