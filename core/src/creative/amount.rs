//! Amounts of money named in a text.

/// One part of a text, as far as amounts go.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Number(f64),
    /// `k`, `million`.
    Times(f64),
    /// `€`, `USD`, `pounds`; `worth` is 0.01 for cents. `leads` when it touches what follows, as in `$5`.
    Currency {
        worth: f64,
        leads: bool,
    },
    /// `-` and `to` between two numbers.
    Range,
    Other,
}

/// Every amount of dollars, euros or pounds named in `text`, in order: `$1,200.50`, `1.200,50 €`, `EUR 500`, `3k GBP`,
/// `10 to 20 dollars`, `50 cents`. Numbers without a currency are none. Words for numbers are not read.
pub(super) fn amounts(text: &str) -> Vec<f64> {
    let parts = parts(text);
    let mut taken = vec![false; parts.len()];
    // The value of each number that is an amount, and where its parts end.
    let mut found: Vec<(usize, usize, f64, Option<f64>)> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let Part::Number(number) = *part else { continue };
        let (value, next) = match parts.get(at + 1) {
            Some(Part::Times(times)) => (number * times, at + 2),
            _ => (number, at + 1),
        };
        let before = at.checked_sub(1).filter(|before| !taken[*before] && worth(&parts, *before).is_some());
        // In `20 $5 coupons` the sign is the second number's.
        let leads = matches!(parts.get(next), Some(Part::Currency { leads: true, .. }))
            && matches!(parts.get(next + 1), Some(Part::Number(_)));
        let after = Some(next).filter(|next| !leads && worth(&parts, *next).is_some());
        let currency = before.or(after);
        if let Some(currency) = currency {
            taken[currency] = true;
        }
        found.push((at, next, value, currency.and_then(|currency| worth(&parts, currency))));
    }
    // In `€100-200` and `100 to 200 €` both ends are amounts.
    for second in 1..found.len() {
        let first = second - 1;
        let (from, to) = (found[first].1, found[second].0);
        let between = parts[from..to].iter().filter(|part| !matches!(part, Part::Currency { .. }));
        if between.eq(&[Part::Range]) {
            found[second].3 = found[second].3.or(found[first].3);
            found[first].3 = found[first].3.or(found[second].3);
        }
    }
    found.into_iter().filter_map(|(_, _, value, worth)| worth.map(|worth| value * worth)).collect()
}

fn worth(parts: &[Part], at: usize) -> Option<f64> {
    match parts.get(at) {
        Some(Part::Currency { worth, .. }) => Some(*worth),
        _ => None,
    }
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_digit() {
            number_length(rest)
        } else if first.is_alphabetic() {
            rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        let leads = after.starts_with(|c: char| c.is_ascii_digit());
        match first {
            '0'..='9' => parts.push(Part::Number(number(token))),
            '€' | '$' | '£' => parts.push(Part::Currency { worth: 1.0, leads }),
            '-' | '–' | '—' => parts.push(Part::Range),
            _ if first.is_whitespace() => {}
            _ if first.is_alphabetic() => parts.push(word(&token.to_lowercase(), leads)),
            _ => parts.push(Part::Other),
        }
        rest = after;
    }
    parts
}

fn word(word: &str, leads: bool) -> Part {
    match word {
        "k" | "thousand" | "thousands" => Part::Times(1e3),
        "m" | "mio" | "million" | "millions" => Part::Times(1e6),
        "bn" | "billion" | "billions" => Part::Times(1e9),
        "eur" | "euro" | "euros" | "usd" | "dollar" | "dollars" | "gbp" | "pound" | "pounds" | "quid" | "bucks" => {
            Part::Currency { worth: 1.0, leads }
        }
        "cent" | "cents" | "pence" => Part::Currency { worth: 0.01, leads },
        "to" => Part::Range,
        _ => Part::Other,
    }
}

/// Digits, and separators that have a digit after them.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let digit_next = bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if bytes[end].is_ascii_digit() || (matches!(bytes[end], b'.' | b',' | b'\'') && digit_next) {
            end += 1;
        } else {
            break;
        }
    }
    end
}

/// Reads `1,200.50`, `1.200,50`, `1'200` and `0.5`. One separator with three digits after it parts thousands, unless
/// the number begins with 0.
fn number(token: &str) -> f64 {
    let last = token.rfind(['.', ',']);
    let decimal = last.filter(|at| {
        let mark = &token[*at..=*at];
        let other = if mark == "." { "," } else { "." };
        let once = token.matches(mark).count() == 1;
        let thousands = token.len() - at - 1 == 3 && *at <= 3 && !token.starts_with('0');
        once && (token.contains(other) || !thousands)
    });
    let digits = |part: &str| part.chars().filter(char::is_ascii_digit).collect::<String>();
    let plain = match decimal {
        Some(at) => format!("{}.{}", digits(&token[..at]), digits(&token[at..])),
        None => digits(token),
    };
    plain.parse().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_found_as_people_write_them() {
        let cases: &[(&str, &[f64])] = &[
            ("It costs $5.", &[5.0]),
            ("about €1,200.50 a year", &[1200.5]),
            ("1.200,50 € im Jahr", &[1200.5]),
            ("EUR 500, 300 GBP and US$20", &[500.0, 300.0, 20.0]),
            ("3k dollars or £2.5 million", &[3000.0, 2_500_000.0]),
            ("between €100-200", &[100.0, 200.0]),
            ("10 to 20 euros", &[10.0, 20.0]),
            ("$1.000", &[1000.0]),
            ("$0.125", &[0.125]),
            ("50 cents each", &[0.5]),
            ("5 € for 20 people", &[5.0]),
            ("buy 20 $5 coupons", &[5.0]),
            ("for 300 people in 2024, 3 km away", &[]),
            ("€ 1'000'000", &[1_000_000.0]),
            ("$12,34,567", &[1_234_567.0]),
            ("no money", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(amounts(text), *expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "([0-9]{0,4}|[.,'$€£-]|k|EUR|to| |\\PC{0,3}){0,40}") {
            prop_assert!(amounts(&text).iter().all(|amount| *amount >= 0.0));
        }

        #[test]
        fn what_is_written_is_read(cents in 0..100_000_000_u64, form in 0..4_usize) {
            let (whole, part) = (cents / 100, cents % 100);
            let text = match form {
                0 => format!("pay ${whole}.{part:02} now"),
                1 => format!("{whole},{part:02} €"),
                2 => format!("EUR {whole}.{part:02}"),
                _ => format!("{whole}.{part:02} dollars"),
            };
            let found = amounts(&text);
            prop_assert!(found.len() == 1 && (found[0] - cents as f64 / 100.0).abs() < 1e-6, "{text}: {found:?}");
        }
    }
}
