//! Constraints that code can check, and constraints in words.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use super::{Constraint, ConstraintCheck, amount::amounts};
use crate::error::{Error, Result};

impl ConstraintCheck {
    /// Whether `text` meets it.
    pub(super) fn is_met(&self, text: &str) -> bool {
        let mentions = |what: &str| text.to_lowercase().contains(&what.to_lowercase());
        match self {
            Self::MaxWords(most) => text.unicode_words().count() <= *most,
            Self::MinWords(least) => text.unicode_words().count() >= *least,
            Self::Mentions(what) => mentions(what),
            Self::Avoids(what) => !mentions(what),
            Self::MaxAmount(most) => amounts(text).iter().all(|amount| amount <= most),
        }
    }
}

/// In words, for models and people.
impl fmt::Display for ConstraintCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxWords(most) => write!(f, "at most {most} words"),
            Self::MinWords(least) => write!(f, "at least {least} words"),
            Self::Mentions(what) => write!(f, "mentions \"{what}\""),
            Self::Avoids(what) => write!(f, "does not mention \"{what}\""),
            Self::MaxAmount(most) => write!(f, "costs at most {most}"),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text.trim()),
            Self::Check(check) => check.fmt(f),
        }
    }
}

/// # Errors
/// `Invalid` for a constraint that says nothing.
pub(super) fn validate(constraint: &Constraint) -> Result<()> {
    let empty = match constraint {
        Constraint::Text(text) | Constraint::Check(ConstraintCheck::Mentions(text) | ConstraintCheck::Avoids(text)) => {
            text.trim().is_empty()
        }
        Constraint::Check(ConstraintCheck::MaxAmount(most)) => !(most.is_finite() && *most >= 0.0),
        Constraint::Check(_) => false,
    };
    if empty {
        return Err(Error::invalid("a constraint is a text that is not empty, or an amount of at least 0")
            .during("CreativeEngine::solve"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_say_what_they_mean() {
        use ConstraintCheck::{Avoids, MaxAmount, MaxWords, Mentions, MinWords};
        let text = "Share leftovers by a shelf for €40, not plastic.";
        let cases = [
            (MaxWords(9), true),
            (MaxWords(8), false),
            (MinWords(9), true),
            (MinWords(10), false),
            (Mentions("SHELF".into()), true),
            (Mentions("app".into()), false),
            (Avoids("Plastic".into()), false),
            (Avoids("paper".into()), true),
            (MaxAmount(40.0), true),
            (MaxAmount(39.99), false),
        ];
        for (check, met) in cases {
            assert_eq!(check.is_met(text), met, "{check}");
        }
        assert!(MaxAmount(0.0).is_met("free"), "no amount, nothing too dear");
    }

    #[test]
    fn empty_constraints_are_refused() {
        use ConstraintCheck::{MaxAmount, MaxWords, Mentions};
        assert!(validate(&Constraint::Text(" ".into())).is_err());
        assert!(validate(&Constraint::Check(Mentions(String::new()))).is_err());
        assert!(validate(&Constraint::Check(MaxAmount(f64::NAN))).is_err());
        assert!(validate(&Constraint::Check(MaxWords(0))).is_ok());
    }
}
